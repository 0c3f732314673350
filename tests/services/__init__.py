"""Servers that stores need: started on demand, once per process of pytest, on free ports, in temporary folders."""
