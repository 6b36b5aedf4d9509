"""Arrays in, estimates and p-values out: intervals, paired tests, multiplicity.

Every random draw comes from a `numpy.random.Generator` that the caller gives.
"""
