"""X and y: arrays, with numpy and scikit-learn."""
