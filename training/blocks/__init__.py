"""Parts that several methods share, each under the name the field knows it by."""
