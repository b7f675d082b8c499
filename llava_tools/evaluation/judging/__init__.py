"""A language model that reviews answers: the judge, its prompts, and the file of its reviews."""
