"""What a notebook needs around its lesson: questions, sources, Colab."""
