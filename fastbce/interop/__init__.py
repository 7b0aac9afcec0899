"""The estimator on other frameworks' data, one file each; each needs its framework."""
