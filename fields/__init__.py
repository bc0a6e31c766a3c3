"""The scene representations, their configurations, and the one place that builds or loads a model by its method."""
