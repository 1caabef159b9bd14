"""What the default study starts from: conversations, and the small pretrained models the package ships."""
