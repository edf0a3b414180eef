"""Builds the search graph of a shard: python -m serving.index.graph FOLDER

A process of its own, because the engine keeps the interpreter for itself until the graph is done (8 s for 30,000
points of 96 dimensions), and a server must answer meanwhile.
"""

import os
import sys

from qdrant_edge import EdgeShard

if __name__ == "__main__":
    os.nice(10)
    shard = EdgeShard.load(sys.argv[1])
    shard.optimize()
    shard.flush()
    shard.close()
