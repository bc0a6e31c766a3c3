"""Shapes as training data: meshes, their signed distances, pools of samples, extraction and scores.

The world of a shape is the cube [-1, 1]^3; the mesh lies in a ball around its origin. Distances are negative inside.
The extra `shape` brings the libraries: trimesh (formats), libigl (distances, winding numbers), scikit-image (marching
cubes). Each file imports its own when first used.
"""
