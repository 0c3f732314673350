-- What is counted, and what is deleted where a limit is exceeded. Owners share each limit equally: as long as one holds
-- more than its share, no other one loses a thread that is within its own.

-- Whether the call is repeated, since its answer was lost; when the caller gives up, or 0 if it does not know this clock;
-- the limits; and what the other shards of a cluster hold, of which this one only knows by its callers.
local IS_REPEATED, NOT_AFTER, MAX_THREADS, MAX_RUNS, MAX_BYTES, MAX_AGE, OTHER_THREADS, OTHER_BYTES, OTHER_OWNERS
do
    local numbers = {}
    for number in string.gmatch(ARGV[2], '%d+') do numbers[#numbers + 1] = tonumber(number) end
    IS_REPEATED, NOT_AFTER, MAX_THREADS, MAX_RUNS, MAX_BYTES, MAX_AGE, OTHER_THREADS, OTHER_BYTES, OTHER_OWNERS =
        unpack(numbers)
end

local MEASURES = {
    threads = {limit = MAX_THREADS, others = OTHER_THREADS, owners = THREADS},
    bytes = {limit = MAX_BYTES, others = OTHER_BYTES, owners = BYTES},
}

local function count_bytes(thread, owner, added)
    if added == 0 then return end
    redis.call('HINCRBY', key('t', thread), 'bytes', added)
    redis.call('HINCRBY', SHARD, 'bytes', added)
    redis.call('ZINCRBY', BYTES, added, owner)
end

local function set_idle(thread, owner, now)
    redis.call('ZADD', IDLE, now, thread)
    redis.call('ZADD', key('idle', owner), now, thread)
end

local function set_active(thread, owner)
    redis.call('ZREM', IDLE, thread)
    redis.call('ZREM', key('idle', owner), thread)
end

-- Numbers threads in the order in which they are created.
local function next_serial()
    local serial = math.max(NOW, integer(redis.call('HGET', SHARD, 'serial')) + 1)
    redis.call('HSET', SHARD, 'serial', serial)
    return serial
end

local function add_thread(thread, owner, owner_text, thread_text, ordinal)
    local serial = next_serial()
    redis.call('HSET', key('t', thread), 'owner', owner, 'owner_text', owner_text, 'thread_text', thread_text,
        'ordinal', ordinal, 'serial', serial, 'runs', 0, 'bytes', 0)
    if redis.call('ZADD', key('all', owner), serial, thread) == 1 then -- or it was counted before it was damaged
        redis.call('HINCRBY', SHARD, 'threads', 1)
        redis.call('ZINCRBY', THREADS, 1, owner)
    end
    count_bytes(thread, owner, THREAD_BYTES + 2 * (#owner_text + #thread_text))
end

-- Lists: all of an owner, and that of one agent

local function list_of(owner, archived, agent)
    local name = key(archived and 'filed' or 'list', owner)
    return agent and name .. ':' .. redis.sha1hex(agent) or name
end

local function enlist(thread, owner, archived, agent, updated)
    redis.call('ZADD', list_of(owner, archived), updated, thread)
    redis.call('ZADD', list_of(owner, archived, agent), updated, thread)
end

local function unlist(thread, owner)
    local agent = fields_if_intact(key('t', thread), 'agent')
    for _, archived in ipairs({false, true}) do
        redis.call('ZREM', list_of(owner, archived), thread)
        -- Otherwise, the list itself notices that there is no such thread.
        if agent then redis.call('ZREM', list_of(owner, archived, agent), thread) end
    end
end

local function is_listed(thread, owner)
    return redis.call('ZSCORE', list_of(owner, false), thread) or redis.call('ZSCORE', list_of(owner, true), thread)
end

-- Returns a time from the given one on at which no other thread of the owner was updated, so that a list has one order.
local function unused_time(owner, time)
    local function is_any_unused(width)
        local last = time + width - 1
        return redis.call('ZCOUNT', list_of(owner, false), time, last)
            + redis.call('ZCOUNT', list_of(owner, true), time, last) < width
    end
    local used, width = 0, 1
    while not is_any_unused(width) do used, width = width, width * 2 end
    while width - used > 1 do
        local middle = math.floor((used + width) / 2)
        if is_any_unused(middle) then width = middle else used = middle end
    end
    return time + width - 1
end

-- Deletes all of a thread but its active run.
local function drop_history(thread, owner, raw)
    unlist(thread, owner)
    for ordinal in string.gmatch(raw or '', '(%d+):%d+:%d+ ') do
        redis.call('UNLINK', frames_key(thread, ordinal))
        redis.call('ZREM', RAW, thread .. ':' .. ordinal)
    end
    redis.call('UNLINK', key('t', thread), key('r', thread), key('m', thread), key('e', thread), key('i', thread))
    redis.call('ZREM', key('all', owner), thread)
end

local function uncount_thread(owner, size)
    redis.call('HINCRBY', SHARD, 'threads', -1)
    redis.call('HINCRBY', SHARD, 'bytes', 0 - size) -- and not -size, which may be -0
    if tonumber(redis.call('ZINCRBY', THREADS, -1, owner)) <= 0 then
        redis.call('ZREM', THREADS, owner)
        redis.call('ZREM', BYTES, owner)
    else
        redis.call('ZINCRBY', BYTES, 0 - size, owner)
    end
end

-- Deletes a thread. Returns whether it was listed.
local function drop_thread(thread)
    local owner, size, raw, runs = fields_if_intact(key('t', thread), 'owner', 'bytes', 'raw', 'runs')
    if not owner then return false end
    local ordinal = fields_if_intact(key('l', thread), 'ordinal')
    if ordinal then wake_all(thread) end
    drop_history(thread, owner, raw)
    set_active(thread, owner)
    redis.call('UNLINK', key('l', thread))
    if ordinal then redis.call('UNLINK', frames_key(thread, ordinal)) end
    uncount_thread(owner, integer(size))
    return integer(runs) > 0
end

-- Deletes the history of a thread whose active run goes on, on a thread that is otherwise new. Returns true.
local function clear_active_thread(thread)
    local owner, owner_text, thread_text, ordinal, size, raw =
        fields(key('t', thread), 'owner', 'owner_text', 'thread_text', 'ordinal', 'bytes', 'raw')
    drop_history(thread, owner, raw)
    uncount_thread(owner, integer(size))
    add_thread(thread, owner, owner_text, thread_text, ordinal)
    count_bytes(thread, owner, integer(redis.call('HGET', key('l', thread), 'bytes')))
    return true
end

-- Deletes a thread of an owner also if it is damaged, so that not even its owner may be known. Returns whether it was
-- listed.
local function drop_thread_of(thread, owner)
    local was_listed = is_listed(thread, owner)
    local serial = redis.call('ZSCORE', key('all', owner), thread)
    if not drop_thread(thread) and serial and redis.call('ZSCORE', key('all', owner), thread) then
        local ordinal = fields_if_intact(key('l', thread), 'ordinal')
        if ordinal then wake_all(thread) end
        drop_history(thread, owner, '')
        set_active(thread, owner)
        redis.call('UNLINK', key('l', thread))
        if ordinal then redis.call('UNLINK', frames_key(thread, ordinal)) end
        uncount_thread(owner, 0)
    end
    return was_listed
end

local function drop_raw(thread, owner, ordinal)
    local raw, size = without_raw(redis.call('HGET', key('t', thread), 'raw'), ordinal)
    if not size then return end
    redis.call('UNLINK', frames_key(thread, ordinal))
    redis.call('ZREM', RAW, thread .. ':' .. ordinal)
    redis.call('HSET', key('t', thread), 'raw', raw)
    count_bytes(thread, owner, -size)
end

-- Forgets the message ids that only deleted runs have. Returns the bytes that they took.
local function drop_ids(name, last)
    local ids = redis.call('ZRANGEBYSCORE', name, '-inf', last)
    if #ids == 0 then return 0 end
    local size = 0
    for _, id in ipairs(ids) do size = size + #id + ID_BYTES end
    redis.call('ZREMRANGEBYSCORE', name, '-inf', last)
    return size
end

-- Deletes the oldest ended run of a thread.
local function drop_oldest_run(thread, owner)
    local name = key('r', thread)
    local first, last, runs = fields(key('t', thread), 'first', 'ordinal', 'runs')
    local ordinal, header = integer(first), nil
    while ordinal <= integer(last) do
        header = redis.call('HGET', name, 'h' .. ordinal)
        if header then break end
        ordinal = ordinal + 1 -- of which nothing was stored
    end
    if not header then return false end
    drop_raw(thread, owner, digits(ordinal))
    local size = #header + redis.call('HSTRLEN', name, ordinal) + RUN_BYTES
    redis.call('HDEL', name, ordinal, 'h' .. ordinal)
    redis.call('HSET', key('t', thread), 'first', ordinal + 1, 'runs', integer(runs) - 1)
    size = size + drop_ids(key('e', thread), ordinal) + drop_ids(key('i', thread), ordinal)
    count_bytes(thread, owner, -size)
    return true
end

-- Deletes what has expired. Returns whether there may be more.
local function sweep(count)
    local expired = redis.call('ZRANGEBYSCORE', RAW, '-inf', NOW, 'LIMIT', 0, count)
    for _, entry in ipairs(expired) do
        local thread, ordinal = string.match(entry, '^(.+):(%d+)$')
        local owner = fields_if_intact(key('t', thread), 'owner')
        if owner then if_intact(drop_raw, thread, owner, ordinal) end
        redis.call('ZREM', RAW, entry)
    end
    local unused = {}
    if MAX_AGE > 0 then
        unused = redis.call('ZRANGEBYSCORE', IDLE, '-inf', NOW - MAX_AGE, 'LIMIT', 0, count)
        for _, thread in ipairs(unused) do
            drop_thread(thread)
            redis.call('ZREM', IDLE, thread) -- a damaged one would come first each time
        end
    end
    return #expired == count or #unused == count
end

local function exceeds(measure)
    local limit = MEASURES[measure].limit
    return limit > 0 and integer(redis.call('HGET', SHARD, measure)) + MEASURES[measure].others > limit
end

local function owner_count()
    return redis.call('ZCARD', THREADS) + OTHER_OWNERS
end

-- Whether an owner has more of a limit than each would have if all had the same.
local function is_above_share(owner, measure)
    return integer(redis.call('ZSCORE', MEASURES[measure].owners, owner)) * owner_count() > MEASURES[measure].limit
end

local function oldest_but(name, thread)
    for _, other in ipairs(redis.call('ZRANGE', name, 0, 1)) do
        if other ~= thread then return other end
    end
    return nil
end

-- Returns the thread to delete next, other than the given one. With `is_strict`, only one of an owner above its share.
local function next_victim(thread, measure, is_strict)
    local oldest = oldest_but(IDLE, thread)
    if not oldest then return nil end
    if is_above_share(fields_if_intact(key('t', oldest), 'owner') or '', measure) then return oldest end
    -- Usually the first one has a thread that may be deleted.
    for _, owner in ipairs(redis.call('ZREVRANGE', MEASURES[measure].owners, 0, 9)) do
        if not is_above_share(owner, measure) then break end
        local other = oldest_but(key('idle', owner), thread)
        if other then return other end
    end
    if is_strict then return nil end
    return oldest
end

-- Deletes the raw frames of a thread's runs and then its oldest runs, as far as necessary. Its last run is kept, because
-- readers in other processes may not have seen its end.
local function trim(thread, owner, is_needed)
    if not is_needed() then return end
    local raw, last = redis.call('HGET', key('t', thread), 'raw') or '', redis.call('HGET', key('t', thread), 'last')
    for ordinal in string.gmatch(raw, '(%d+):%d+:%d+ ') do
        if not is_needed() then return end
        if ordinal ~= last then drop_raw(thread, owner, ordinal) end
    end
    for _ = 1, BATCH do
        if not is_needed() or integer(redis.call('HGET', key('t', thread), 'runs')) < 2 then return end
        if not drop_oldest_run(thread, owner) then return end
    end
end

-- Deletes a thread. One that is damaged is no longer looked at.
local function evict_thread(thread, owner)
    drop_thread(thread)
    redis.call('ZREM', IDLE, thread)
    if owner then redis.call('ZREM', key('idle', owner), thread) end
end

local function evict_threads(thread, owner, measure, count)
    local evicted = 0
    local function is_owners_fault()
        return exceeds(measure) and is_above_share(owner, measure)
    end
    while evicted < count and is_owners_fault() do
        local other = oldest_but(key('idle', owner), thread)
        if not other then break end
        evict_thread(other, owner)
        evicted = evicted + 1
    end
    if measure == 'bytes' and evicted < count then trim(thread, owner, is_owners_fault) end
    while evicted < count and exceeds(measure) do
        local victim = next_victim(thread, measure, OTHER_OWNERS > 0)
        if not victim then break end
        evict_thread(victim)
        evicted = evicted + 1
    end
    return evicted
end

-- Enforces the limits after a thread has grown. Returns how many other threads that has deleted.
local function evict(thread, owner)
    if MAX_RUNS > 0 then
        for _ = 1, BATCH do
            if integer(redis.call('HGET', key('t', thread), 'runs')) <= MAX_RUNS then break end
            if not drop_oldest_run(thread, owner) then break end
        end
    end
    for _ = 1, 10 do -- what has expired counts until it is swept, and is no reason to delete anything else
        if not (exceeds('threads') or exceeds('bytes')) or not sweep(BATCH) then break end
    end
    local evicted = 0
    if exceeds('threads') then evicted = evict_threads(thread, owner, 'threads', BATCH) end
    if exceeds('bytes') then
        evicted = evicted + evict_threads(thread, owner, 'bytes', BATCH - evicted)
        -- In a cluster, others may have more than their share in another shard.
        if OTHER_OWNERS == 0 then trim(thread, owner, function() return exceeds('bytes') end) end
    end
    return evicted
end

local function outcome_of_eviction(evicted)
    return evicted, (exceeds('threads') or exceeds('bytes')) and 1 or 0
end

function operations.sweep()
    return sweep(BATCH) and 1 or 0
end

-- What the other shards of a cluster are told of this one.
function operations.totals()
    local threads, bytes = fields(SHARD, 'threads', 'bytes')
    return {integer(threads), integer(bytes), redis.call('ZCARD', THREADS)}
end

-- Deletes threads other than the given one because the whole cluster exceeds a limit; with `is_strict`, only of owners
-- above their share.
function operations.evict(is_strict, thread)
    local evicted = 0
    for _, measure in ipairs({'threads', 'bytes'}) do
        while evicted < BATCH and exceeds(measure) do
            local victim = next_victim(thread, measure, is_strict == '1')
            if not victim then break end
            evict_thread(victim)
            evicted = evicted + 1
        end
    end
    return evicted
end
