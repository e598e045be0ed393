-- How attempts and jobs end, and what their children learn of it.
-- KEYS  [1] the namespace; read: parents, kids:*; written: logs:*, and by `flush` the rest.
-- ARGV  none of its own.
-- Moves complete, retry, snooze, release, lose, bury, abort, expire, cancel, unblock, defer.

local function spoils(state, h)
  return not h[H.RUNS_ON_FAILURE] and is_ended(state) and state ~= S.COMPLETED
end

local function is_spoiled(r, parents)
  for i = 1, #parents do
    local parent = W.jobs[parents[i]]
    if parent and spoils(parent[F.STATE], head(r)) then return true end
  end
  return false
end

local function count_live(parents)
  local live = 0
  for i = 1, #parents do
    local parent = W.jobs[parents[i]]
    if parent and is_live(parent[F.STATE]) then live = live + 1 end
  end
  return live
end

local function spoil(k, ended)
  local r = W.jobs[k]
  put(r, F.ERROR, X.PARENT_FAILED)
  put(r, F.ERROR_CODE, X.PARENT_FAILED_CODE)
  move(k, E.CANCEL)
  ended[#ended + 1] = k
end

local function release(k, ended)
  local r = W.jobs[k]
  local parents = parents_of(k)
  fetch(parents)
  -- A parent that failed in an earlier life of this workflow, and was not revived with the
  -- others, still spoils its child.
  if is_spoiled(r, parents) then return spoil(k, ended) end
  local later = r[F.DUE_AT] > W.now
  r[F.DUE_AT] = math.max(r[F.DUE_AT], W.now)
  move(k, later and E.DEFER or E.UNBLOCK)
end

local function blocked_kids(k)
  if not W.jobs[k][F.HAS_CHILDREN] then return {} end
  local kids = redis.call('SMEMBERS', W.p .. K.KIDS .. k)
  fetch(kids)
  local blocked = {}
  for i = 1, #kids do
    local kid = W.jobs[kids[i]]
    if kid and kid[F.STATE] == S.BLOCKED then blocked[#blocked + 1] = kids[i] end
  end
  return blocked
end

-- Tells the children of ended jobs: they become ready, or are cancelled with theirs. However
-- many they are, it is one commit with the end of their parent.
local function cascade(ended)
  local i = 1
  while ended[i] do
    local parent = W.jobs[ended[i]]
    if is_ended(parent[F.STATE]) then
      for _, k in ipairs(blocked_kids(ended[i])) do
        local r = W.jobs[k]
        if spoils(parent[F.STATE], head(r)) then
          spoil(k, ended)
        else
          r[F.WAITING_FOR] = r[F.WAITING_FOR] - 1
          touch(k)
          if r[F.WAITING_FOR] <= 0 then release(k, ended) end
        end
      end
    end
    i = i + 1
  end
end

local function end_try(k, outcome, error, ran_for)
  local r = W.jobs[k]
  if not r[F.STARTED_AT] and ran_for then r[F.STARTED_AT] = W.now - ran_for end
  r[F.ENDED_AT], r[F.OUTCOME], r[F.TRY_ERROR] = W.now, outcome, error or false
  r[F.SESSION], r[F.DEADLINE_AT] = false, false
  local waited = r[F.LEASED_AT] - r[F.TRY_DUE_AT]
  local ran = r[F.STARTED_AT] and W.now - r[F.STARTED_AT]
  count(k, outcome, waited, ran)
  local h = head(r)
  spread(h, 'waited', waited)
  if ran then spread(h, 'ran', ran) end
  touch(k)
end

local function bury(k, event, actor)
  move(k, event)
  count(k, 'dead')
  local r = W.jobs[k]
  log(N.JOB_DEAD, actor, k, nil, nil, {
    code = r[F.ERROR_CODE] or 'task_error', task = head(r)[H.TASK],
  })
end

local function conclude(k, event, actor)
  if event == E.BURY then bury(k, event, actor) else move(k, event) end
  if W.jobs[k][F.HAS_CHILDREN] then cascade({k}) end
end

local function losing(r)
  if r[F.CANCEL_REQUESTED] then return E.ABORT end
  return (r[F.LOST] or 0) >= head(r)[H.MAX_LOST] and E.BURY or E.LOSE
end

-- The mirror of `stoker.core.rules.ending`.
local function ending(r, outcome, retry_in)
  if outcome == O.COMPLETED then return E.COMPLETE end
  if outcome == O.CANCELLED or r[F.CANCEL_REQUESTED] then return E.ABORT end
  if outcome == O.FAILED then
    local again = retry_in and (r[F.FAILED] or 0) <= head(r)[H.MAX_RETRIES]
    return again and E.RETRY or E.BURY
  end
  if outcome == O.CRASHED then return losing(r) end
  return outcome == O.SNOOZED and E.SNOOZE or E.RELEASE
end

-- Closes the attempt and moves the job to where this end leads; its counters are raised already.
local function finish(k, outcome, actor, label, error, retry_in, ran_for)
  local r = W.jobs[k]
  local event = ending(r, outcome, retry_in)
  end_try(k, label or outcome, error, ran_for)
  if event == E.RETRY or event == E.SNOOZE then
    r[F.DUE_AT] = W.now + math.max(0, retry_in or 0)
  end
  conclude(k, event, actor)
end

local function lose(k, actor)
  local r = W.jobs[k]
  put(r, F.LOST, (r[F.LOST] or 0) + 1)
  put(r, F.ERROR, X.WORKER_LOST)
  put(r, F.ERROR_CODE, X.WORKER_LOST_CODE)
  local event = losing(r)
  end_try(k, 'lost', X.WORKER_LOST)
  log(N.JOB_LOST, actor, k, nil, nil, {code = X.WORKER_LOST_CODE})
  conclude(k, event, actor)
end

-- Keeps what a worker told. Lines told before are not kept twice.
local function report(k, progress, note, lines)
  local r = W.jobs[k]
  if not (progress or note or lines) then return end
  if progress then put(r, F.PROGRESS, progress) end
  if note then put(r, F.NOTE, note) end
  if lines then
    local key, known, new = W.p .. K.LOGS .. k, {}, {}
    if r[F.HAS_LOGS] then
      for _, line in ipairs(redis.call('LRANGE', key, 0, -1)) do known[line] = true end
    end
    for i = 1, #lines do
      if not known[lines[i]] then
        known[lines[i]] = true
        new[#new + 1] = lines[i]
      end
    end
    if #new > 0 then
      in_parts('RPUSH', key, new)
      redis.call('LTRIM', key, -X.MAX_LOGS, -1)
      put(r, F.HAS_LOGS, true)
    end
  end
  tell(r)
  touch(k)
end

local function promote(limit)
  local ks = redis.call(
    'ZRANGEBYSCORE', W.p .. K.DUE, '-inf', W.now, 'LIMIT', 0, math.max(0, limit))
  fetch(ks)
  for i = 1, #ks do move(ks[i], E.DUE) end
  return #ks
end
