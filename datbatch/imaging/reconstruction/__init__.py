"""From projections to an image: filtered back-projection, and correction for attenuation."""
