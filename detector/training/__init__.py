"""From embeddings and annotations to a judged model: folds, sweep, calibration, metrics, model file.

Pure functions over arrays. Nothing here knows of storage, images or pages.
"""
