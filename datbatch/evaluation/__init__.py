"""How good a classifier is, and how sure that is: pure functions of arrays, with neither torch nor the store."""
