"""A city that does not exist, made from one seed: `python -m data.sample_city OUT_DIR`."""
