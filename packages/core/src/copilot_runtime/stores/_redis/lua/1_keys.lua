-- What all operations use. An operation runs as a whole, on the keys of one shard, all of which begin with KEYS[1].
-- KEYS[2] never exists, and is for clusters that move slots.
--
--   <shard>                hash    totals: threads, bytes; serial: of the thread that was created last
--   <shard>:idle           zset    threads without an active run, by their last use
--   <shard>:raw            zset    <thread>:<ordinal> of the raw frames of ended runs, by when they expire
--   <shard>:threads        zset    owners by their number of threads
--   <shard>:bytes          zset    owners by the bytes of their threads
--   <shard>:idle:<owner>   zset    an owner's threads without an active run, by their last use
--   <shard>:all:<owner>    zset    an owner's threads, by their serial
--   <shard>:list:<owner>   zset    an owner's threads of which a run has ended, by when the last one did, but for:
--   <shard>:filed:<owner>  zset    those that are archived
--   <shard>:list:<owner>:<agent>, <shard>:filed:<owner>:<agent>   zset   the same, of one agent
--   <shard>:t:<thread>     hash    a thread
--   <shard>:l:<thread>     hash    its active run
--   <shard>:r:<thread>     hash    its ended runs: <ordinal> is the replay, h<ordinal> describes the run
--   <shard>:m:<thread>     list    its messages
--   <shard>:e:<thread>     zset    the ids of the messages in its events, by the last run that has them
--   <shard>:i:<thread>     zset    the ids of the messages in its inputs, likewise
--   <shard>:f:<thread>:<ordinal>   list   the raw frames of a run, as they were appended: <number of the first> <frames>
--
-- Threads and owners are digests. Times are in microseconds, by the server's clock.

local SHARD = KEYS[1]
local IDLE, RAW, THREADS, BYTES = SHARD .. ':idle', SHARD .. ':raw', SHARD .. ':threads', SHARD .. ':bytes'

-- About what the server's memory has besides texts and blobs.
local THREAD_BYTES, LIVE_BYTES, RUN_BYTES, MESSAGE_BYTES, ID_BYTES, FRAMES_BYTES = 1400, 200, 450, 24, 100, 40

local BATCH = 100 -- the most threads or runs to delete at once: nobody else is served meanwhile

local clock = redis.call('TIME')
local NOW = clock[1] * 1000000 + clock[2]

local FIRST = 3 -- the first argument of the operation; there may be too many of them for unpack()

local operations = {}

local function key(kind, id)
    return SHARD .. ':' .. kind .. ':' .. id
end

local function frames_key(thread, ordinal)
    return SHARD .. ':f:' .. thread .. ':' .. ordinal
end

local function integer(value)
    return tonumber(value) or 0
end

-- Numbers above 10^14 have an exponent if they are concatenated.
local function digits(number)
    return string.format('%.0f', number)
end

local function fields(name, ...)
    return unpack(redis.call('HMGET', name, ...))
end

-- The same for what others must be able to do although another program has put something else under the name.
local function fields_if_intact(name, ...)
    local values = redis.pcall('HMGET', name, ...)
    if values.err then return nil end
    return unpack(values)
end

-- Calls a function for one of several threads. Returns nil if what is stored of that one is damaged.
local function if_intact(work, ...)
    local succeeded, result = pcall(work, ...)
    if succeeded then return result end
    local text = type(result) == 'table' and (result.err or '') or tostring(result)
    for _, code in ipairs({'OOM', 'MISCONF', 'NOREPLICAS', 'READONLY', 'NOPERM'}) do -- of the server
        if string.find(text, code .. ' ', 1, true) then error(result, 0) end
    end
    return nil
end

-- Lets what follows change keys although the server's memory is used up: a script that has written something may go on,
-- and a deletion is never refused. For what takes no more memory than before.
local function use_full_memory()
    redis.call('DEL', KEYS[2])
end

-- Active runs

local function has_expired(expires, lease)
    expires = integer(expires)
    -- One that expires much later than it can since it was last renewed was renewed before the clock was set back. By
    -- less than that, the clocks of a master and of the replica that replaces it may differ.
    return not (NOW < expires and expires <= NOW + 2 * integer(lease))
end

local function active_run(thread)
    local ordinal, run, agent, stopping, expires, lease, begin =
        fields(key('l', thread), 'ordinal', 'run', 'agent', 'stopping', 'expires', 'lease', 'begin')
    if not ordinal then return false end
    return {ordinal, run, agent, stopping, has_expired(expires, lease) and 1 or 0, begin}
end

-- Calls back the processes that follow a run; each line is a channel and until when it follows.
local function wake_followers(thread, ordinal, followers)
    if not followers or followers == '' then return end
    for channel, ends in string.gmatch(followers, '(%S+) (%d+)\n') do
        if tonumber(ends) > NOW then redis.call('PUBLISH', channel, thread .. ':' .. ordinal) end
    end
end

-- Calls back all that have to do with a run.
local function wake_all(thread)
    local ordinal, holder, followers = fields(key('l', thread), 'ordinal', 'holder', 'followers')
    if not ordinal then return end
    redis.call('PUBLISH', holder, thread .. ':' .. ordinal)
    wake_followers(thread, ordinal, followers)
end

-- Notes that a process follows a run, and tells the one that runs it; unless the server takes no writes at the moment,
-- which readers need not notice.
local function note_follower(thread, ordinal, holder, followers, channel, seconds)
    if channel == '' or channel == holder then return end
    local kept, is_new = {}, true
    for other, ends in string.gmatch(followers or '', '(%S+) (%d+)\n') do
        if other == channel then
            if tonumber(ends) > NOW + seconds * 500000 then return end
        elseif tonumber(ends) > NOW then
            kept[#kept + 1] = other .. ' ' .. ends .. '\n'
        end
    end
    kept[#kept + 1] = channel .. ' ' .. digits(NOW + seconds * 1000000) .. '\n'
    local noted = redis.pcall('HSET', key('l', thread), 'followers', table.concat(kept))
    if type(noted) == 'number' then redis.call('PUBLISH', holder, thread .. ':' .. ordinal) end
end

-- Raw frames

-- A thread lists the raw frames that it has of ended runs: <ordinal>:<bytes>:<until> and a space for each. Returns the
-- others, and the bytes of the one with an ordinal, or nil.
local function without_raw(raw, ordinal)
    local kept, size = {}, nil
    for number, bytes, ends in string.gmatch(raw or '', '(%d+):(%d+):(%d+) ') do
        if number == ordinal then
            size = tonumber(bytes)
        else
            kept[#kept + 1] = number .. ':' .. bytes .. ':' .. ends .. ' '
        end
    end
    return table.concat(kept), size
end

local function has_raw(thread, ordinal)
    for number, ends in string.gmatch(redis.call('HGET', key('t', thread), 'raw') or '', '(%d+):%d+:(%d+) ') do
        if number == ordinal then return tonumber(ends) > NOW end
    end
    return false
end

local function append_frames(thread, ordinal, first, frames)
    -- A list and not a stream, which takes 4 KiB at least.
    redis.call('RPUSH', frames_key(thread, ordinal), first .. ' ' .. frames)
end

-- Returns the entries of a run's frames from the one on that has the frame after a number.
local function entries_after(thread, ordinal, after)
    local name, count = frames_key(thread, ordinal), 1
    if after == 0 then return redis.call('LRANGE', name, 0, -1) end
    while true do -- from the end, where readers mostly are
        local entries = redis.call('LRANGE', name, -count, -1)
        if #entries < count or tonumber(string.match(entries[1], '^%d+')) <= after + 1 then return entries end
        count = count * 4
    end
end
