"""Pictures, tensors and DICOM images from files: read without running them, and every change to them said."""
