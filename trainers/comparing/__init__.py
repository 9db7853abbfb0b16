"""Students trained on several data sets, and which data set is best."""
