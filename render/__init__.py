"""Cameras, rays and frames, and the drivers that turn a representation into pictures."""
