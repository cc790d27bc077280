"""What all pages are made of: text, tables, slices, pictures, style."""
