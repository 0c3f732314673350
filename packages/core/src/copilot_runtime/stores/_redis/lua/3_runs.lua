-- Runs from their beginning to their end. A command that is refused once the server's memory is used up comes first
-- where a run begins or grows, so that such a server changes nothing. What ends runs, or keeps leases, is not refused.

local function next_token(thread, random)
    local leased = math.max(NOW, integer(redis.call('HGET', key('t', thread), 'leased')) + 1)
    redis.call('HSET', key('t', thread), 'leased', leased)
    -- Random digits: after a failover, the new master may not know the last lease.
    return digits(leased) .. random
end

local TYPES = {r = 'hash', m = 'list', e = 'zset', i = 'zset'}

-- Fails before anything is changed if another program has put something else under the names of a thread.
local function check_types(thread)
    for kind, expected in pairs(TYPES) do
        local found = redis.call('TYPE', key(kind, thread)).ok
        if found ~= 'none' and found ~= expected then error('WRONGTYPE ' .. found .. ' in place of ' .. expected, 0) end
    end
end

-- Returns {0} and the active run if there is one, or {1} and the run that has begun.
function operations.begin(thread, owner, owner_text, thread_text, run, agent, size, begin, first, lease, random, holder)
    local live = active_run(thread)
    -- Before anything is changed, since it fails where they are damaged.
    local events, inputs = redis.call('ZRANGE', key('e', thread), 0, -1), redis.call('ZRANGE', key('i', thread), 0, -1)
    local function begun(ordinal, token, evicted, is_exceeded)
        return {1, ordinal, token, evicted, is_exceeded, events, inputs, digits(NOW)}
    end
    if live then
        local token = redis.call('HGET', key('l', thread), 'token')
        if IS_REPEATED == 1 and string.sub(token, -#random) == random then return begun(live[1], token, 0, 0) end
        return {0, unpack(live)}
    end
    local name = key('t', thread)
    local ordinal
    if redis.call('EXISTS', name) == 1 then
        ordinal = redis.call('HINCRBY', name, 'ordinal', 1)
    else
        ordinal = tonumber(first)
        add_thread(thread, owner, owner_text, thread_text, ordinal)
    end
    local token = next_token(thread, random)
    set_active(thread, owner)
    redis.call('HSET', key('l', thread), 'token', token, 'ordinal', ordinal, 'run', run, 'agent', agent, 'owner', owner,
        'begin', begin, 'started', NOW, 'expires', NOW + lease, 'lease', lease, 'stopping', 0, 'holder', holder,
        'count', 0, 'bytes', LIVE_BYTES, 'size', size, 'duplicates', '[]')
    count_bytes(thread, owner, LIVE_BYTES)
    sweep(4)
    return begun(ordinal, token, outcome_of_eviction(evict(thread, owner)))
end

-- Returns frames without the first ones: each ends with an empty line.
local function without_first(frames, count)
    local at = 1
    for _ = 1, count do
        local _, last = string.find(frames, '\n\n', at, true)
        at = last + 1
    end
    return string.sub(frames, at)
end

-- Returns those of a number of frames that are missing. `total` is how many there are with these, or -1. Returns nil if
-- others that came before them are missing.
local function missing(frames, count, total, stored)
    if total < 0 or total == stored + count then return frames, count end
    local surplus = stored - (total - count)
    if surplus < 0 then return nil end
    surplus = math.min(surplus, count)
    return without_first(frames, surplus), count - surplus
end

local function append(thread, token, frames, count, total, duplicates)
    local name = key('l', thread)
    local held, ordinal, owner, stored, bytes, size, known_duplicates, followers =
        fields(name, 'token', 'ordinal', 'owner', 'count', 'bytes', 'size', 'duplicates', 'followers')
    if held ~= token then return 0 end
    if tonumber(total) >= 0 and tonumber(total) < integer(stored) then return 1 end -- an earlier call that came late
    frames, count = missing(frames, tonumber(count), tonumber(total), integer(stored))
    if not frames then return 0 end
    if count == 0 and duplicates == known_duplicates then return 1 end
    size = integer(size)
    if count > 0 then
        append_frames(thread, ordinal, stored + 1, frames)
        local added = #frames + FRAMES_BYTES
        size = size + #frames
        redis.call('HSET', name, 'count', stored + count, 'bytes', bytes + added, 'size', size, 'duplicates', duplicates)
        count_bytes(thread, owner, added)
    else
        redis.call('HSET', name, 'duplicates', duplicates)
    end
    wake_followers(thread, ordinal, followers)
    return MAX_BYTES > 0 and size > MAX_BYTES and 2 or 1
end

-- Appends to several runs. Returns, for each, 0 (refused), 1 (appended) or 2 (appended, and too large).
function operations.append()
    local results, evicted = {0, 0}, 0
    for at = FIRST, #ARGV, 6 do
        results[#results + 1] = if_intact(append, unpack(ARGV, at, at + 5)) or 0
    end
    if exceeds('bytes') then
        for at = FIRST, #ARGV, 6 do
            local owner = fields_if_intact(key('t', ARGV[at]), 'owner')
            if owner and evicted < BATCH then evicted = evicted + evict(ARGV[at], owner) end
        end
    end
    results[1], results[2] = outcome_of_eviction(evicted)
    return results
end

-- Notes the ids of messages that a run has. Returns how many bytes the new ones take.
local function store_ids(name, ordinal, ids)
    local added = 0
    for first = 1, #ids, 1000 do
        local part = {unpack(ids, first, math.min(first + 999, #ids))}
        local known = redis.call('ZMSCORE', name, unpack(part))
        local pairs_ = {}
        for at, id in ipairs(part) do
            if not known[at] then added = added + #id + ID_BYTES end
            pairs_[2 * at - 1], pairs_[2 * at] = ordinal, id
        end
        redis.call('ZADD', name, unpack(pairs_))
    end
    return added
end

-- Replaces a thread's messages, one on each line, of which the first ones rarely change. Returns how many bytes more
-- they take.
local function store_messages(name, lines)
    local messages = {}
    for message in string.gmatch(lines, '[^\n]+') do messages[#messages + 1] = message end
    local stored, same, added = redis.call('LRANGE', name, 0, -1), 0, 0
    while same < #messages and stored[same + 1] == messages[same + 1] do same = same + 1 end
    for at = same + 1, #stored do added = added - #stored[at] - MESSAGE_BYTES end
    if same < #stored then redis.call('LTRIM', name, 0, same - 1) end
    if same == 0 and #stored > 0 then redis.call('UNLINK', name) end
    local new = {unpack(messages, same + 1, math.min(#messages, same + 1000))}
    while #new > 0 do
        for _, message in ipairs(new) do added = added + #message + MESSAGE_BYTES end
        redis.call('RPUSH', name, unpack(new))
        same = same + #new
        new = {unpack(messages, same + 1, math.min(#messages, same + 1000))}
    end
    return added
end

-- Returns the list whose length is an argument, and where the next one is.
local function list_at(at)
    local values = {}
    for number = 1, tonumber(ARGV[at]) do values[number] = ARGV[at + number] end
    return values, at + #values + 1
end

-- Returns {1, evicted, whether a limit is exceeded}, or {0} if the lease does not hold.
function operations.finish(thread, token, persist, keep, frames, count, total, header, replay, messages,
    retention)
    local name = key('t', thread)
    local held, ordinal, owner, agent, stored, bytes, followers, started =
        fields(key('l', thread), 'token', 'ordinal', 'owner', 'agent', 'count', 'bytes', 'followers', 'started')
    if held ~= token then
        if IS_REPEATED == 1 and redis.call('HGET', name, 'done') == token then return {1, 0, 0} end
        return {0}
    end
    stored, bytes = integer(stored), integer(bytes)
    local raw_name = frames_key(thread, ordinal)
    if persist == '1' then
        frames, count = missing(frames, tonumber(count), tonumber(total), stored)
        if not frames then return {0} end
        check_types(thread)
    end
    -- First, since it takes no memory: a run can end where the memory is used up.
    redis.call('DEL', key('l', thread))
    local runs, first, raw = fields(name, 'runs', 'first', 'raw')
    runs = integer(runs)
    local added = -LIVE_BYTES
    if persist == '1' then
        if count > 0 then
            append_frames(thread, ordinal, stored + 1, frames)
            bytes = bytes + #frames + FRAMES_BYTES
            added = added + #frames + FRAMES_BYTES
        end
        local ends = NOW + tonumber(retention)
        redis.call('PEXPIREAT', raw_name, digits(math.floor(ends / 1000)))
        redis.call('ZADD', RAW, ends, thread .. ':' .. ordinal)
        raw = (raw or '') .. ordinal .. ':' .. digits(bytes - LIVE_BYTES) .. ':' .. digits(ends) .. ' '
        header = table.concat({digits(stored + count), started, digits(NOW), #agent, agent .. header}, ' ')
        redis.call('HSET', key('r', thread), 'h' .. ordinal, header, ordinal, replay)
        added = added + #header + #replay + RUN_BYTES
        local ids, at = list_at(FIRST + 11)
        added = added + store_ids(key('e', thread), ordinal, ids)
        ids = list_at(at)
        added = added + store_ids(key('i', thread), ordinal, ids)
        if messages ~= '' then added = added + store_messages(key('m', thread), messages) end
        local updated = unused_time(owner, NOW)
        local old_agent, archived = fields(name, 'agent', 'archived')
        if old_agent and old_agent ~= agent then unlist(thread, owner) end
        if runs == 0 then
            redis.call('HSET', name, 'created', updated)
            if not first then redis.call('HSET', name, 'first', ordinal) end
        end
        redis.call('HSET', name, 'runs', runs + 1, 'agent', agent, 'updated', updated, 'raw', raw, 'last', ordinal,
            'done', token)
        enlist(thread, owner, archived == '1', agent, updated)
    else
        redis.call('UNLINK', raw_name)
        added = -bytes
        if runs > 0 or keep == '1' then redis.call('HSET', name, 'done', token) end
    end
    count_bytes(thread, owner, added)
    set_idle(thread, owner, NOW)
    wake_followers(thread, ordinal, followers)
    sweep(4)
    if persist ~= '1' and runs == 0 and keep ~= '1' then
        drop_thread(thread)
        return {1, 0, 0}
    end
    return {1, outcome_of_eviction(evict(thread, owner))}
end

-- Leases: pairs of a thread and a token.

function operations.renew(lease)
    use_full_memory()
    for at = FIRST + 1, #ARGV, 2 do
        local name = key('l', ARGV[at])
        if fields_if_intact(name, 'token') == ARGV[at + 1] then
            redis.call('HSET', name, 'expires', NOW + lease, 'lease', lease)
        end
    end
    return 1
end

-- Returns, for each, 0 (no signal), 1 (stop), 2 (lost) or 3 (another process follows).
function operations.poll()
    local signals = {}
    for at = FIRST, #ARGV, 2 do
        local token, stopping, followers = fields_if_intact(key('l', ARGV[at]), 'token', 'stopping', 'followers')
        local signal = 0
        if token ~= ARGV[at + 1] then
            signal = 2
        elseif stopping == '1' then
            signal = 1
        elseif followers then
            for ends in string.gmatch(followers, '%S+ (%d+)\n') do
                if tonumber(ends) > NOW then signal = 3 end
            end
        end
        signals[#signals + 1] = signal
    end
    return signals
end

-- Returns what is stored of a run and of its thread's messages. Fails if it is something else.
local function stored_of(thread, ordinal)
    check_types(thread)
    return {entries_after(thread, ordinal, 0), redis.call('LRANGE', key('m', thread), 0, -1),
        redis.call('ZRANGE', key('e', thread), 0, -1)}
end

-- Returns the new token and the run, and what `stored_of` returns if that does not fail. Where it does, nothing is
-- changed with force.
function operations.claim(thread, ordinal, force, lease, random, holder)
    local name = key('l', thread)
    local live_ordinal, run, agent, started, expires, old_lease =
        fields(name, 'ordinal', 'run', 'agent', 'started', 'expires', 'lease')
    if live_ordinal ~= ordinal or not (force == '1' or has_expired(expires, old_lease)) then return false end
    local stored = force == '1' and stored_of(thread, ordinal) or if_intact(stored_of, thread, ordinal) or {}
    use_full_memory()
    local token = next_token(thread, random)
    wake_all(thread)
    redis.call('HSET', name, 'token', token, 'expires', NOW + lease, 'lease', lease, 'holder', holder)
    return {token, run, agent, started, unpack(stored)}
end

function operations.stop(thread, has_id, run)
    local live = active_run(thread)
    if live and live[5] == 0 and (has_id == '0' or live[2] == run) and live[4] ~= '1' then
        use_full_memory()
        redis.call('HSET', key('l', thread), 'stopping', 1)
        redis.call('PUBLISH', redis.call('HGET', key('l', thread), 'holder'), thread .. ':' .. live[1])
    end
    return live
end
