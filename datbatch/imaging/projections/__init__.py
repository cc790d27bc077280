"""What projections say of themselves: counts, motion, centre of rotation, cut heads."""
