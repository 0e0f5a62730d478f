"""What becomes of the queue when its file is damaged: copies beforehand, salvage afterwards."""
