"""The explorer: sees what an encoder sees. Speaks to the server through enfold.client alone."""
