// What the pages do with JavaScript: they follow the cluster, obey the keyboard, and ask
// in dialogs. Everything here is an addition: each page works without it.

const base = document.body.dataset.base
const $ = (selector, root = document) => root.querySelector(selector)
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)]

// ---- live: an event says that there is something new, the page is fetched again ----

const pill = $('#live')
let frozen = false, connected = false, fetching = false, again = false, lastFetch = 0

function showPill() {
  const [cls, text] = frozen ? ['frozen', 'Frozen'] : connected ? ['', 'Live'] : ['wait', 'Reconnecting']
  pill.className = 'pill js ' + cls
  if (pill.lastElementChild.textContent !== text) pill.lastElementChild.textContent = text
}

async function refresh(url = location.href) {
  if (fetching) { again = true; return }
  fetching = true
  try {
    const answer = await fetch(url, { headers: { Accept: 'text/html' } })
    lastFetch = Date.now()
    const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html')
    if (url !== location.href) return
    localTimes(fresh)
    const focused = document.activeElement
    for (const part of $$('[data-live]')) {
      const now = fresh.getElementById(part.id)
      if (now) morph(part, now)
    }
    const foot = $('footer', fresh)
    if (foot) morph($('footer'), foot)
    dress()
    if (focused?.isConnected && focused !== document.activeElement) focused.focus({ preventScroll: true }) // its row has moved
  } catch (e) {
    if (!(e instanceof TypeError)) throw e // the server is away: the event stream says so
  } finally {
    fetching = false
    if (again) { again = false; soon() }
  }
}

let timer = 0
function soon() {
  if (frozen || document.hidden || timer || $('dialog[open]')) return
  timer = setTimeout(() => { timer = 0; refresh() }, Math.max(0, lastFetch + 950 - Date.now()))
}

// morph makes old like fresh, keeping elements, and so focus, selection and what somebody
// has typed, opened or ticked. Children with data-key are matched by it.
function morph(old, fresh) {
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== 'open') old.removeAttribute(name)
  }
  for (const { name, value } of fresh.attributes) {
    if (name !== 'open' && old.getAttribute(name) !== value) old.setAttribute(name, value)
  }
  if (old.matches('select, textarea')) return
  const keyed = new Map()
  for (const child of old.children) if (child.dataset.key) keyed.set(child.dataset.key, child)
  let at = old.firstChild
  for (const want of [...fresh.childNodes]) {
    const key = want.nodeType === 1 && want.dataset.key
    if (key && keyed.has(key)) {
      const have = keyed.get(key)
      keyed.delete(key)
      if (have === at) at = at.nextSibling
      else old.insertBefore(have, at)
      morph(have, want)
    } else if (!key && at && at.nodeType === want.nodeType && at.nodeName === want.nodeName && !(at.nodeType === 1 && at.dataset.key)) {
      if (at.nodeType === 1) morph(at, want)
      else if (at.data !== want.data) at.data = want.data
      at = at.nextSibling
    } else {
      old.insertBefore(document.importNode(want, true), at)
    }
  }
  while (at) { const next = at.nextSibling; at.remove(); at = next }
  for (const left of keyed.values()) left.remove()
}

// A page that nobody sees listens to nothing: browsers keep few connections to a host.
let source
function listen() {
  if (document.hidden) {
    source?.close()
    source = null
  } else if (!source) {
    source = new EventSource(base + '/api/events')
    source.onopen = () => { connected = true; showPill(); soon() }
    source.onerror = () => { connected = false; showPill() }
    source.addEventListener('view', soon)
  }
}
if (!('frozen' in document.body.dataset)) {
  pill.hidden = false
  showPill()
  listen()
  document.addEventListener('visibilitychange', listen)
  pill.onclick = freeze
  addEventListener('pagehide', () => source?.close())
  addEventListener('pageshow', e => { if (e.persisted) location.reload() })
}
function freeze() {
  if (pill.hidden) return
  frozen = !frozen
  showPill()
  soon()
}

// ---- small things ----

// Times are in UTC from the server.
function localTimes(root) {
  for (const t of $$('time[datetime]', root)) {
    const d = new Date(t.dateTime)
    const day = d.toDateString() === new Date().toDateString() ? '' : d.toLocaleDateString([], { month: 'short', day: 'numeric' }) + ' '
    t.textContent = day + d.toLocaleTimeString([], { hour12: false })
  }
  for (const u of $$('.utc', root)) u.textContent = ''
}

// dress does what must be done again to parts that have come anew.
function dress() {
  for (const b of $$('.js[hidden]')) if (b.id !== 'live') b.hidden = false
  chosen()
  point()
}

function chosen() {
  const text = $('#chosen')
  if (!text) return
  const n = $$('input[name=name]:checked').length
  text.textContent = n ? `With the ${n} ticked:` : text.dataset.none
}

document.addEventListener('change', e => {
  if (e.target.matches('[data-all]')) for (const box of $$('input[name=name]')) box.checked = e.target.checked
  chosen()
})

$('#theme').onsubmit = e => {
  e.preventDefault()
  const root = document.documentElement
  const dark = matchMedia('(prefers-color-scheme: dark)').matches
  const shown = root.dataset.theme || (dark ? 'dark' : 'light')
  const next = shown === 'dark' ? 'light' : 'dark'
  root.dataset.theme = next
  document.cookie = `theme=${next}; path=${base || '/'}; max-age=31536000; samesite=lax`
}

// Filter boxes act while somebody types.
let typing = 0
document.addEventListener('input', e => {
  if (e.target.matches('[data-want]')) fence(e.target)
  if (!e.target.matches('[data-auto]')) return
  clearTimeout(typing)
  typing = setTimeout(() => {
    const form = e.target.form, query = new URLSearchParams(location.search)
    query.delete('page')
    for (const [k, v] of new FormData(form)) v ? query.set(k, v) : query.delete(k)
    history.replaceState(null, '', '?' + query)
    refresh()
  }, 200)
})

document.addEventListener('click', async e => {
  const copy = e.target.closest('[data-copy]')
  if (copy) {
    const was = copy.textContent
    try {
      await navigator.clipboard.writeText(copy.dataset.copy)
      copy.textContent = 'Copied'
    } catch {
      copy.textContent = 'Copy refused'
    }
    setTimeout(() => { copy.textContent = was }, 1200)
    return
  }
  if (!e.target.closest('.do details')) closeMenus()
  const link = e.target.closest('a[href*="confirm="]')
  if (link && !e.metaKey && !e.ctrlKey && !e.shiftKey) {
    e.preventDefault()
    ask(link.href)
  }
})

function closeMenus(but) {
  let any = false
  for (const d of $$('.do details[open]')) if (d !== but) { d.open = false; any = true }
  return any
}

document.addEventListener('submit', e => {
  const form = e.target
  if (form.dataset.wait && e.submitter) {
    e.submitter.textContent = form.dataset.wait
    setTimeout(() => { e.submitter.disabled = true })
  }
  if (e.submitter?.name === 'confirm') {
    e.preventDefault()
    const query = new URLSearchParams(new FormData(form))
    query.set('confirm', e.submitter.value)
    ask(form.action + '?' + query)
  }
})

// ask shows the page of a confirmation as a dialog.
async function ask(url) {
  closeMenus()
  let section
  try {
    const answer = await fetch(url)
    section = $('#confirm', new DOMParser().parseFromString(await answer.text(), 'text/html'))
  } catch { /* then the page itself */ }
  if (!section) { location.href = url; return }
  const dialog = document.createElement('dialog')
  dialog.setAttribute('aria-labelledby', 'confirm-title')
  dialog.append(document.importNode(section, true))
  document.body.append(dialog)
  dialog.onclose = () => { dialog.remove(); soon() }
  const cancel = $('[data-cancel]', dialog)
  cancel.onclick = e => { e.preventDefault(); dialog.close() }
  const want = $('[data-want]', dialog)
  if (want) fence(want)
  dialog.showModal()
  cancel.focus()
}

// fence lets a form go only once what it asks for has been typed.
function fence(input) {
  $('button.btn', input.form).disabled = input.value !== input.dataset.want
}
for (const want of $$('[data-want]')) fence(want)

// ---- the value under the pointer ----

const cursor = document.createElement('i'), tip = document.createElement('span')
cursor.className = 'cursor'
tip.className = 'tip'
let pointer = null
document.addEventListener('pointermove', e => { pointer = e; point() })
addEventListener('scroll', () => { pointer = null; point() }, { passive: true })

function point() {
  const field = pointer && document.elementFromPoint(pointer.clientX, pointer.clientY)?.closest('.field[data-values]')
  if (!field) { cursor.remove(); tip.remove(); return }
  const data = field.dataset, values = data.values.split(','), box = field.getBoundingClientRect()
  const x = Math.min(1, Math.max(0, (pointer.clientX - box.left) / box.width))
  const value = values[Math.round(x * (values.length - 1))]
  const at = new Date(+data.from + x * (data.to - data.from))
  const number = value === '' ? 'unknown' : (+value).toLocaleString('en', { maximumFractionDigits: +value < 10 ? 2 : 0 }) + data.unit
  tip.textContent = number + ' at ' + at.toLocaleTimeString([], { hour12: false })
  cursor.style.cssText = `left:${pointer.clientX}px;top:${box.top}px;height:${box.height}px`
  document.body.append(cursor, tip)
  const half = tip.offsetWidth / 2 + 6
  tip.style.cssText = `left:${Math.min(innerWidth - half, Math.max(half, pointer.clientX))}px;top:${box.top - 22}px`
}

// ---- keyboard ----

const places = { o: '/', t: '/topics', n: '/nodes', c: '/cluster', l: '/lookup', a: '/activity' }
let going = 0

$('#help').onclick = () => $('#keys').showModal()

document.addEventListener('keydown', e => {
  if (e.ctrlKey || e.metaKey || e.altKey || $('dialog[open]')) return
  if (e.key === 'Escape') {
    if (!closeMenus() && e.target.matches('input, textarea')) e.target.blur()
    return
  }
  if (e.target.matches('input:not([type=checkbox]), textarea, select')) return
  if (going && Date.now() - going < 1500 && places[e.key]) {
    going = 0
    location.href = base + places[e.key]
    return
  }
  going = 0
  switch (e.key) {
    case 'g': going = Date.now(); return
    case '/': {
      const box = $('[data-search]')
      if (box) { box.focus(); box.select() } else location.href = base + '/topics'
      break
    }
    case 'j': case 'k': step(e.key === 'j' ? 1 : -1); break
    case 'p': $('[data-pause]')?.click(); break
    case '?': $('#keys').showModal(); break
    case ' ':
      if (e.target.closest('button, a, summary, input')) return
      freeze()
      break
    default: return
  }
  e.preventDefault()
})

// step moves the focus to the link of the next or previous row; Enter opens it.
function step(by) {
  const links = $$('.open, .fold > summary')
  const here = links.indexOf(document.activeElement)
  const next = links[here < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, here + by))]
  next?.focus()
  next?.scrollIntoView({ block: 'nearest' })
}

$('.top [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'center' })
localTimes(document)
dress()
