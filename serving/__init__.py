"""Bundles over HTTP: the BentoML service, the index behind it, and batch jobs. Knows neither torch nor training."""
