"""The examples, each started as its README says."""
