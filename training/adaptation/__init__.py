"""How an encoder is fitted to labels. An adaptation is a file of this folder with `adapt(stage, run, subject)`.

It writes a head into the stage's folder, and the encoder if it changed, and returns figures.
"""
