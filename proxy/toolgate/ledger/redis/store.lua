-- The state that gates share: what is taken, what is frozen, which calls are open.
--
-- RULE: an operation takes everything or nothing, and one that is sent twice is done once: whatever is taken for a call
-- is remembered under the call's id (its lease) until the call is settled. All looking comes before all writing, since
-- an error in the middle undoes nothing. The arithmetic of guards is that of `core/guards.py`.
--
-- KEYS[1]  the epoch; every other key begins as it does, so all of them have its hash tag
-- ARGV[1]  {"epoch", "seq", "version", "owner", "now_ms", "skew_ms", "operations": [[name, ...], ...]}
-- answers  {"state", "seq", "now_us", "version", "freezes"?, "results": [...]}; numbers as text, for cjson rounds them
--
-- Guards: ["charge", key, amount, given, keep_ms, bucket or -1, buckets] · ["pace", key, every_us, burst] ·
-- ["place", key, given]
-- Keys, behind the prefix: epoch · seq · version · freezes · stopped:<run> · taken:<key> · pace:<key> · place:<key> ·
-- lease:<call> · spent:<call> · open:<owner> · owners · alive:<owner> ·
-- migrated:<journal> · evicted ·
-- of plans and approvals: agreed:<run>, what gates did, oldest first · agreed-by:<run>, how much of it each writer said ·
-- agreed-in:<plan, its digest or approval>, its run · asked, approvals that may wait for an answer or a use, by when they
-- do not any more · attempt:<call>, the run in which its end is awaited · entry:<lease>, what is said once the journal has it

local PREFIX = string.sub(KEYS[1], 1, -6)
local DAY_MS = 86400000
local LEASE_MS = 7 * DAY_MS -- how long a gate may stay away and still give back what it never sent
local STOPPED_MS = 30 * DAY_MS
local GONE_MS = 600000 -- how long an operation that comes late finds that its call is over
local GONE = 'gone'
local AGREED_MS = 30 * DAY_MS -- a run takes no longer
local PAGE = 256 -- entries a gate is told at once
local ASKED_MS = 1800000 -- by then a request is answered, used or over
local MOST_ASKED = 1000
local MOST_AGREED = 20000 -- entries of one run

local asked = cjson.decode(ARGV[1])
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now_ms = math.floor(now_us / 1000)
local wrote = false

local function whole(number)
  return string.format('%.0f', number)
end

local function number_at(key)
  return tonumber(redis.call('GET', PREFIX .. key) or '0')
end

-- What is there of a guard's key: taken, the theoretical arrival time in microseconds, or places held.

local LEVEL = {}

function LEVEL.charge(guard)
  local key = PREFIX .. 'taken:' .. guard[2]
  if guard[6] < 0 then
    return tonumber(redis.call('HGET', key, 'taken') or '0')
  end
  local sum = 0
  local fields = redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    local bucket = tonumber(fields[i])
    -- a bucket of the future counts too: a clock that went back gives nothing back
    if bucket and bucket > guard[6] - guard[7] then
      sum = sum + tonumber(fields[i + 1])
    end
  end
  return sum
end

function LEVEL.pace(guard)
  return number_at('pace:' .. guard[2])
end

function LEVEL.place(guard)
  return redis.call('ZCOUNT', PREFIX .. 'place:' .. guard[2], '(' .. whole(now_ms), '+inf')
end

-- Whether a guard holds after what the same call takes of its key before it, and what its key is at then.

local AFTER = {}

function AFTER.charge(guard, level)
  local taken = level + math.max(guard[3], 0) -- no charge is a refund, so none makes room for the next
  return guard[3] <= 0 or taken <= guard[4], taken
end

function AFTER.pace(guard, level, at_us)
  local arrival = math.max(level, at_us) + guard[3]
  return level - (guard[4] - 1) * guard[3] <= at_us, arrival
end

function AFTER.place(guard, level)
  return level < guard[3], level + 1
end

local function add(guard, amount)
  local key = PREFIX .. 'taken:' .. guard[2]
  if guard[6] < 0 then
    redis.call('HINCRBY', key, 'taken', whole(amount))
  else
    for _, bucket in ipairs(redis.call('HKEYS', key)) do
      local number = tonumber(bucket)
      if number and number <= guard[6] - guard[7] then
        redis.call('HDEL', key, bucket)
      end
    end
    redis.call('HINCRBY', key, whole(guard[6]), whole(amount))
  end
  if guard[5] > 0 then
    redis.call('PEXPIRE', key, whole(guard[5]))
  end
end

-- Never below zero: what a window has let go of is not given back once more.
local function give_back(guard, amount)
  local key = PREFIX .. 'taken:' .. guard[2]
  local field = guard[6] < 0 and 'taken' or whole(guard[6])
  local taken = tonumber(redis.call('HGET', key, field) or '0')
  if taken > 0 and amount > 0 then
    redis.call('HINCRBY', key, field, whole(-math.min(amount, taken)))
  end
end

local TAKE = {}

function TAKE.charge(guard)
  add(guard, math.max(guard[3], 0))
end

function TAKE.pace(guard, _, _, at_us)
  local arrival = math.max(LEVEL.pace(guard), at_us) + guard[3]
  local keep_ms = math.max(math.ceil(arrival / 1000) - now_ms, 0) + 60000
  redis.call('SET', PREFIX .. 'pace:' .. guard[2], whole(arrival), 'PX', whole(keep_ms))
end

function TAKE.place(guard, member, until_ms)
  local key = PREFIX .. 'place:' .. guard[2]
  redis.call('ZREMRANGEBYSCORE', key, '-inf', whole(now_ms))
  redis.call('ZADD', key, whole(until_ms), member)
  redis.call('PEXPIRE', key, whole(DAY_MS))
end

-- Who holds a place: a call, by the number of the guard, for it may need two.
local function member_of(call, i)
  return call .. '#' .. i
end

local GIVE_BACK = {}

function GIVE_BACK.charge(guard)
  give_back(guard, guard[3])
end

-- Not a call whose time has passed: then it would be one too many.
function GIVE_BACK.pace(guard)
  local arrival = LEVEL.pace(guard)
  if arrival > now_us then
    redis.call('SET', PREFIX .. 'pace:' .. guard[2], whole(arrival - guard[3]), 'KEEPTTL')
  end
end

function GIVE_BACK.place(guard, member)
  redis.call('ZREM', PREFIX .. 'place:' .. guard[2], member)
end

local function close_call(call, owner)
  redis.call('SREM', PREFIX .. 'open:' .. owner, call)
  if redis.call('EXISTS', PREFIX .. 'open:' .. owner) == 0 then
    redis.call('SREM', PREFIX .. 'owners', owner)
  end
end

local function close_lease(call, owner, may_come_again)
  if may_come_again then
    redis.call('SET', PREFIX .. 'lease:' .. call, GONE, 'PX', whole(GONE_MS))
  else
    redis.call('DEL', PREFIX .. 'lease:' .. call)
  end
  close_call(call, owner)
end

-- The first guard that does not hold, or nothing; and what each guard's key is at, afterwards where all hold.
local function judge(guards, at_us)
  local before, after = {}, {}
  local short = 0
  for i, guard in ipairs(guards) do
    local id = guard[1] .. guard[2]
    before[id] = before[id] or LEVEL[guard[1]](guard)
    local holds, level = AFTER[guard[1]](guard, after[id] or before[id], at_us)
    if not holds and short == 0 then
      short = i
    end
    after[id] = level
  end
  local levels = {}
  for i, guard in ipairs(guards) do
    local id = guard[1] .. guard[2]
    levels[i] = whole(short > 0 and before[id] or after[id])
  end
  return short, levels
end

local function levels_of(guards)
  local levels = {}
  for i, guard in ipairs(guards) do
    levels[i] = whole(LEVEL[guard[1]](guard))
  end
  return levels
end

-- What gates say to each other of a run. A gate knows what it says itself: of what it is told it counts what others said.

local function say(run, owner, entry)
  local count = redis.call('RPUSH', PREFIX .. 'agreed:' .. run, owner .. ' ' .. entry)
  redis.call('HINCRBY', PREFIX .. 'agreed-by:' .. run, owner, 1)
  redis.call('PEXPIRE', PREFIX .. 'agreed:' .. run, whole(AGREED_MS))
  redis.call('PEXPIRE', PREFIX .. 'agreed-by:' .. run, whole(AGREED_MS))
  wrote = true
  return count
end

-- What a gate that has read FROM entries, OTHERS of them by others, has not been told; nothing where it knows it all.
local function news(run, from, others)
  local count = redis.call('LLEN', PREFIX .. 'agreed:' .. run)
  if count == 0 then
    return nil
  end
  local own = tonumber(redis.call('HGET', PREFIX .. 'agreed-by:' .. run, asked.owner) or '0')
  if count - own <= others then
    return nil
  end
  return redis.call('LRANGE', PREFIX .. 'agreed:' .. run, whole(from), whole(from + PAGE - 1))
end

local function replace(run, at, entry)
  local key = PREFIX .. 'agreed:' .. run
  local owner = string.match(redis.call('LINDEX', key, at) or '', '^[^ ]*')
  redis.call('LSET', key, at, owner .. ' ' .. entry)
end

-- How an attempt ended that others were told of; once.
local function end_attempt(call, owner, entry)
  local run = redis.call('GET', PREFIX .. 'attempt:' .. call)
  if run then
    redis.call('DEL', PREFIX .. 'attempt:' .. call)
    say(run, owner, entry)
  end
end

local function end_unsaid(call, owner, outcome, sent)
  local said = { outcome = outcome, sent = sent }
  end_attempt(call, owner, cjson.encode({ kind = 'Finished', at_ms = now_ms, call = call, data = said }))
end

local function open_lease(id, said)
  redis.call('SET', PREFIX .. 'lease:' .. id, said, 'PX', whole(LEASE_MS))
  redis.call('SADD', PREFIX .. 'open:' .. asked.owner, id)
  redis.call('PEXPIRE', PREFIX .. 'open:' .. asked.owner, whole(LEASE_MS))
  redis.call('SADD', PREFIX .. 'owners', asked.owner)
end

local OPERATIONS = {}

-- take CALL [its run and those above] GUARDS_AS_TEXT AT_US PLACE_MS FROM OTHERS ENTRY: nothing while the gate was not told
-- all that others said of the run; an entry says to others what the call is
function OPERATIONS.take(call, runs, said, at_us, place_ms, from, others, entry)
  local guards = cjson.decode(said)
  local lease = redis.call('GET', PREFIX .. 'lease:' .. call)
  if lease == GONE then
    return { 'gone' }
  elseif lease then
    return { 'taken', levels_of(guards) }
  end
  for _, run in ipairs(runs) do
    local stopped = redis.call('GET', PREFIX .. 'stopped:' .. run)
    if stopped then
      return { 'stopped', run, stopped }
    end
  end
  local unheard = runs[1] and news(runs[1], from, others)
  if unheard then
    return { 'behind', unheard, whole(from) }
  end
  local short, levels = judge(guards, at_us)
  if short > 0 then
    return { 'short', levels }
  end
  if entry ~= '' and redis.call('LLEN', PREFIX .. 'agreed:' .. runs[1]) >= MOST_AGREED then
    return { 'full' }
  end
  if #guards > 0 then
    wrote = true
    for i, guard in ipairs(guards) do
      TAKE[guard[1]](guard, member_of(call, i), now_ms + place_ms, at_us)
    end
    open_lease(call, said)
  end
  if entry ~= '' then
    redis.call('SET', PREFIX .. 'attempt:' .. call, runs[1], 'PX', whole(LEASE_MS))
    say(runs[1], asked.owner, entry)
  end
  return { 'taken', levels }
end

-- ended CALL OWNER ENTRY: what became of an attempt, told to others
function OPERATIONS.ended(call, owner, entry)
  end_attempt(call, owner, entry)
  return { 'ended' }
end

-- agree LEASE RUN GUARDS_AS_TEXT AT_US FROM OTHERS ENTRY [names] IS_PLAN: take what it costs to do something that others are
-- told of once the journal has it; a negative FROM asks for nothing to be known before. NAMES: what others look for it by
function OPERATIONS.agree(id, run, said, at_us, from, others, entry, names, is_plan)
  local guards = cjson.decode(said)
  local lease = redis.call('GET', PREFIX .. 'lease:' .. id)
  if lease == GONE then
    return { 'gone' }
  elseif lease then
    return { 'taken', levels_of(guards) }
  end
  local unheard = from >= 0 and news(run, from, others)
  if unheard then
    return { 'behind', unheard, whole(from) }
  end
  local short, levels = judge(guards, at_us)
  if short > 0 then
    return { 'short', levels }
  end
  if redis.call('LLEN', PREFIX .. 'agreed:' .. run) >= MOST_AGREED then
    return { 'full' }
  end
  wrote = true
  for _, guard in ipairs(guards) do
    TAKE[guard[1]](guard)
  end
  open_lease(id, said)
  local kept = cjson.encode({ run = run, entry = entry, names = names, is_plan = is_plan })
  redis.call('SET', PREFIX .. 'entry:' .. id, kept, 'PX', whole(LEASE_MS))
  return { 'taken', levels }
end

-- publish LEASE OWNER: the journal has it, so others are told. Of a plan only the newest form is kept, last and also first:
-- whoever begins to read finds it before what its steps came to
function OPERATIONS.publish(id, owner)
  local kept = redis.call('GET', PREFIX .. 'entry:' .. id)
  if not kept then
    return { 'over' }
  end
  local said = cjson.decode(kept)
  local at = say(said.run, owner, said.entry) - 1
  for _, name in ipairs(said.names) do
    redis.call('SET', PREFIX .. 'agreed-in:' .. name, said.run, 'PX', whole(AGREED_MS))
  end
  if said.names[1] and not said.is_plan then
    redis.call('ZREMRANGEBYSCORE', PREFIX .. 'asked', '-inf', whole(now_ms))
    redis.call('ZADD', PREFIX .. 'asked', whole(now_ms + ASKED_MS), said.names[1])
    redis.call('PEXPIRE', PREFIX .. 'asked', whole(ASKED_MS))
  end
  if said.is_plan then
    local by = PREFIX .. 'agreed-by:' .. said.run
    local first, before = redis.call('HGET', by, '#first'), redis.call('HGET', by, '#last')
    if first then
      replace(said.run, first, said.entry)
    end
    if before and before ~= first then
      replace(said.run, before, '')
    end
    redis.call('HSET', by, '#first', first or whole(at), '#last', whole(at))
  end
  redis.call('DEL', PREFIX .. 'entry:' .. id)
  close_lease(id, owner, true)
  return { 'published' }
end

-- read RUN FROM OTHERS [[call, its gate], ...]: what others said; of an attempt whose gate is gone nobody knows the end
function OPERATIONS.read(run, from, others, running)
  for _, each in ipairs(running) do
    local is_open = redis.call('GET', PREFIX .. 'attempt:' .. each[1]) == run
    if is_open and redis.call('EXISTS', PREFIX .. 'alive:' .. each[2]) == 0 then
      end_unsaid(each[1], each[2], 'unknown', 'unknown')
    end
  end
  return { 'read', news(run, from, others) or {}, whole(from) }
end

-- asked: the approvals that may wait for somebody, the newest first
function OPERATIONS.asked()
  return { 'asked', redis.call('ZREVRANGEBYSCORE', PREFIX .. 'asked', '+inf', whole(now_ms), 'LIMIT', 0, MOST_ASKED) }
end

-- find NAME: the run a plan or an approval is of; of a digest, the run that had it last
function OPERATIONS.find(name)
  return { 'found', redis.call('GET', PREFIX .. 'agreed-in:' .. name) or '' }
end

-- A lease is the guards that were taken, or, from the settlement until the journal has it, what the settlement changed.
local function lease_of(call)
  local said = redis.call('GET', PREFIX .. 'lease:' .. call)
  if not said or said == GONE then
    return nil
  end
  local lease = cjson.decode(said)
  return lease.refunds and { settled = lease } or { guards = lease }
end

local function leave_places(lease, call)
  for i, guard in ipairs(lease.guards or {}) do
    if guard[1] == 'place' then
      GIVE_BACK.place(guard, member_of(call, i))
    end
  end
end

-- Refunds as far as there is something to give back, extra as far as something is left; answers what was not left.
local function change(refunds, extra)
  for _, guard in ipairs(refunds) do
    give_back(guard, guard[3])
  end
  local overruns = {}
  for i, guard in ipairs(extra) do
    local room = math.max(math.min(guard[3], guard[4] - LEVEL.charge(guard)), 0)
    if room > 0 then
      add(guard, room)
    end
    overruns[i] = whole(guard[3] - room)
  end
  return overruns
end

local function levels_of_both(refunds, extra)
  local levels = levels_of(refunds)
  for _, level in ipairs(levels_of(extra)) do
    levels[#levels + 1] = level
  end
  return levels
end

-- settle CALL [refunds] [extra] OWNER MAY_COME_AGAIN: in one act with the end of its lease, so it counts once
function OPERATIONS.settle(call, refunds, extra, owner, may_come_again)
  local lease = lease_of(call)
  if not lease then
    close_call(call, owner)
    return { 'over' }
  end
  wrote = true
  if lease.guards then
    change(refunds, extra)
  end
  leave_places(lease, call)
  close_lease(call, owner, may_come_again)
  return { 'settled', levels_of_both(refunds, extra) }
end

-- change CALL [refunds] [extra]: settle, but keep in the lease what was changed, until the journal has it
function OPERATIONS.change(call, refunds, extra)
  local lease = lease_of(call)
  if not lease then
    return { 'over' }
  end
  local overruns
  if lease.guards then
    wrote = true
    overruns = change(refunds, extra)
    leave_places(lease, call)
    for i, guard in ipairs(extra) do
      guard[3] = guard[3] - overruns[i]
    end
    local said = cjson.encode({ refunds = refunds, extra = extra, overruns = overruns })
    redis.call('SET', PREFIX .. 'lease:' .. call, said, 'KEEPTTL')
  else
    overruns = lease.settled.overruns
  end
  return { 'changed', levels_of_both(refunds, extra), overruns }
end

-- leave CALL: it is over, so its places are free, whatever the journal still has to write
function OPERATIONS.leave(call)
  local lease = lease_of(call)
  if lease then
    leave_places(lease, call)
  end
  return { 'left' }
end

-- stand CALL OWNER: its end was never written, so what it held stays taken, and what a settlement changed is changed back
function OPERATIONS.stand(call, owner)
  local lease = lease_of(call)
  if not lease then
    close_call(call, owner)
    return { 'over' }
  end
  wrote = true
  if lease.settled then
    for _, guard in ipairs(lease.settled.extra) do
      give_back(guard, guard[3])
    end
    for _, guard in ipairs(lease.settled.refunds) do
      add(guard, guard[3])
    end
  end
  leave_places(lease, call)
  end_unsaid(call, owner, 'unknown', 'unknown')
  close_lease(call, owner, true)
  return { 'stands' }
end

-- undo CALL OWNER: it was never sent, and what comes late for it takes nothing any more
function OPERATIONS.undo(call, owner)
  local lease = lease_of(call)
  local guards = lease and lease.guards or {}
  wrote = true
  for i, guard in ipairs(guards) do
    GIVE_BACK[guard[1]](guard, member_of(call, i))
  end
  end_unsaid(call, owner, 'failed', 'no')
  redis.call('DEL', PREFIX .. 'entry:' .. call)
  close_lease(call, owner, true)
  return { 'undone', levels_of(guards) }
end

-- spend CALL [charges]: what a refused call costs, up to what is given
function OPERATIONS.spend(call, charges)
  if not redis.call('SET', PREFIX .. 'spent:' .. call, '1', 'NX', 'PX', whole(GONE_MS)) then
    return { 'over' }
  end
  wrote = true
  for _, guard in ipairs(charges) do
    add(guard, math.max(math.min(guard[3], guard[4] - LEVEL.charge(guard)), 0))
  end
  return { 'seen', levels_of(charges) }
end

function OPERATIONS.look(guards)
  return { 'seen', levels_of(guards) }
end

-- renew [[key, call, number of the guard], ...] PLACE_MS: this gate goes on, its calls keep their places, and the store
-- can be written
function OPERATIONS.renew(places, place_ms)
  redis.call('SET', PREFIX .. 'alive:' .. asked.owner, whole(now_ms), 'PX', whole(2 * place_ms))
  for _, place in ipairs(places) do
    redis.call('ZADD', PREFIX .. 'place:' .. place[1], 'XX', whole(now_ms + place_ms), member_of(place[2], place[3]))
  end
  return { 'renewed' }
end

function OPERATIONS.freeze(name, said)
  wrote = true
  redis.call('HSET', PREFIX .. 'freezes', name, said)
  redis.call('INCR', PREFIX .. 'version')
  return { 'frozen' }
end

function OPERATIONS.thaw(name)
  wrote = true
  redis.call('HDEL', PREFIX .. 'freezes', name)
  if string.sub(name, 1, 4) == 'run:' then
    redis.call('DEL', PREFIX .. 'stopped:' .. string.sub(name, 5))
  end
  redis.call('INCR', PREFIX .. 'version')
  return { 'thawed' }
end

function OPERATIONS.stop(run, said)
  wrote = true
  redis.call('SET', PREFIX .. 'stopped:' .. run, said, 'PX', whole(STOPPED_MS))
  return { 'stopped' }
end

-- stopped [runs]: which of them still are
function OPERATIONS.stopped(runs)
  local still = {}
  for i, run in ipairs(runs) do
    still[i] = redis.call('EXISTS', PREFIX .. 'stopped:' .. run)
  end
  return { 'stopped', still }
end

-- restore JOURNAL KEY BUCKET AMOUNT KEEP_MS: what a file's ledger has taken of it, and what of that was not added before
function OPERATIONS.restore(journal, key, bucket, amount, keep_ms)
  local added, field = PREFIX .. 'migrated:' .. journal, key .. ' ' .. whole(bucket)
  local before = tonumber(redis.call('HGET', added, field) or '0')
  if amount <= before then
    return { 'over' }
  end
  wrote = true
  redis.call('HSET', added, field, whole(amount))
  add({ 'charge', key, amount, 0, keep_ms, bucket, math.huge }, amount - before)
  return { 'restored' }
end

function OPERATIONS.restore_pace(key, arrival_us)
  wrote = true
  local arrival = math.max(LEVEL.pace({ 'pace', key }), arrival_us)
  redis.call('SET', PREFIX .. 'pace:' .. key, whole(arrival), 'PX', whole(DAY_MS))
  return { 'restored' }
end

-- scan CURSOR: some of what is taken, and where to go on
function OPERATIONS.scan(cursor)
  local found = redis.call('SCAN', cursor, 'MATCH', PREFIX .. 'taken:*', 'COUNT', 100)
  local keys, amounts = {}, {}
  for i, key in ipairs(found[2]) do
    local sum = 0
    for _, amount in ipairs(redis.call('HVALS', key)) do
      sum = sum + tonumber(amount)
    end
    keys[i] = string.sub(key, #PREFIX + #'taken:' + 1)
    amounts[i] = whole(sum)
  end
  return { 'scanned', amounts, keys, found[1] }
end

local function answer(state, seq, results)
  local said = { state = state, seq = whole(seq), now_us = whole(now_us), results = results }
  said.version = redis.call('GET', PREFIX .. 'version') or '0'
  if state == 'done' and said.version ~= asked.version then
    said.freezes = redis.call('HGETALL', PREFIX .. 'freezes')
  end
  return cjson.encode(said)
end

local epoch = redis.call('GET', KEYS[1])
if not epoch then
  return answer('empty', 0, {})
end
local seq = number_at('seq')
if epoch ~= asked.epoch then
  local said = { state = 'other', epoch = epoch, seq = whole(seq), now_us = whole(now_us) }
  return cjson.encode(said)
end
if seq < asked.seq then
  return answer('lost', seq, {})
end
if math.abs(now_ms - asked.now_ms) > asked.skew_ms then
  return answer('skewed', seq, {})
end
local results = {}
for i, operation in ipairs(asked.operations) do
  local done, result = pcall(OPERATIONS[operation[1]], unpack(operation, 2))
  results[i] = done and result or { 'error', type(result) == 'table' and result.err or tostring(result) }
end
if wrote then
  seq = redis.call('INCR', PREFIX .. 'seq')
end
return answer('done', seq, results)
