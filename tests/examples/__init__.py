"""The examples, each started as its README says and driven from outside."""
