"""Fixed data in, checkpoint out: language-model pretraining and reward models."""
