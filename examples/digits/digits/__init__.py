"""Recognise handwritten digits: the data, the settings and the model of the example job."""
