-- What is not done once the caller has given up, as on a server that was suspended: it could concern a thread, or a run,
-- that came after that. Other operations concern a lease, or only read.
local TIMED = {begin = true, claim = true, clear = true, delete = true, import = true, stop = true, update = true}

if TIMED[ARGV[1]] and NOW > NOT_AFTER then return redis.error_reply('TOOLATE ' .. digits(NOW)) end
return operations[ARGV[1]](unpack(ARGV, FIRST, math.min(#ARGV, FIRST + 11)))
