"""From a name to a checked, loaded model."""
