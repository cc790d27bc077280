"""What people, pages and evaluations read from a store."""
