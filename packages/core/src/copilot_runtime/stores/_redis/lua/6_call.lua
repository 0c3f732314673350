return operations[ARGV[1]](unpack(ARGV, FIRST, math.min(#ARGV, FIRST + 11)))
