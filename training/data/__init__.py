"""Where items to learn from come from: sources, splits and the data sets that can be fetched."""
