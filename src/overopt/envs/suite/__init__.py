"""The environments, a file each or a file for two that are alike."""
