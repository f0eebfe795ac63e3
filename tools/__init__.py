"""What a person runs after training: export, measure."""
