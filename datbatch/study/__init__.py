"""One study through everything: imaging, relevance, comparison with what is normal."""
