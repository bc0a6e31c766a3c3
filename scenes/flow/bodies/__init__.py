"""Rigidly moving bodies in a sequence of point clouds: found, followed through time, and their paths fitted jointly.

    found = find_bodies(clouds)         # scenes.flow.bodies.find: owner of every point, pose of every body at all times

No network: clusters, hypotheses of motion, iterative closest points, one least-squares problem a body (in the line of
ICP-Flow, Lin and Caesar 2024, and of multi-body trackers). What bends is left to `fields.flow_bodies`.
"""
