"""What data is: readers and writers of formats, splits, batches, synthetic scenes and evaluation protocols."""
