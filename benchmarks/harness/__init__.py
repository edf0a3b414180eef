"""What the benchmarks share: items, bundles, servers, load, and the page of their results."""
