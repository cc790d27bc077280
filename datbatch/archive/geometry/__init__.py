"""From headers to angles, axes and sides; left and right are never guessed."""
