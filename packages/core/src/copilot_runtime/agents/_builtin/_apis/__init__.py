"""The APIs by which makers serve models, one package or module each."""
