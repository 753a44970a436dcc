"""B-spline coefficient lattices on the leaves of a tree: basis, nodes, exact evaluation, least-squares fit."""
