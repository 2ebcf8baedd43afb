"""A measure, a data source and a voice encoder for Speech2Face."""
