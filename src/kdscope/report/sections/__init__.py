"""The sections of a study's page: each a question, its answer in words, and the evidence."""
