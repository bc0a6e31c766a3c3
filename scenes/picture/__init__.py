"""Pictures as signals: one picture of any size as a function of the plane, its pixels drawn at random or read in order.

(The photographs of a scene are `scenes/images.py` and `scenes/develop.py`: many, reduced, with cameras.)
"""
