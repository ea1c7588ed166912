"""From what the engine wrote to what is worth showing. Pure; knows the texts and nothing else."""
