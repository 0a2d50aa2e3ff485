/**
 * The page: a POST that is told where its answer will be, and the browser's own EventSource, which goes on where it was cut off. Nothing else
 * is needed to survive lost connections, dead servers and restarts of the gateway.
 */
interface Kept {
  readonly question: string
  /** Made before the request is sent: a page that is loaded again before it was answered sends it again, and it is still one question. */
  readonly key: string
  /** Where the answer is. A secret: whoever has it can read it. */
  url?: string
}

const questions = JSON.parse(sessionStorage.getItem('questions') ?? '[]') as Kept[]
const keep = (): void => sessionStorage.setItem('questions', JSON.stringify(questions))

async function run(kept: Kept): Promise<void> {
  const card = cardFor(kept.question)
  try {
    kept.url ??= await ask(kept)
    keep()
    read(kept.url, card)
  } catch (error) {
    card.say('failed')
    card.answer.textContent = String(error)
  }
}

/** 202, as soon as the question is written down. */
async function ask({ question, key }: Kept): Promise<string> {
  const headers = { 'content-type': 'application/json', 'idempotency-key': key, prefer: 'respond-async' }
  const response = await fetch('/answers', { method: 'POST', headers, body: JSON.stringify({ question }) })
  const url = response.headers.get('location')
  if (url === null) throw new Error(`${response.status} ${response.statusText}`)
  return url
}

/** From the beginning: an answer that is under way catches up, one that is there comes at once. */
function read(url: string, card: Card): void {
  const stream = new EventSource(`${url}/result`)
  const on = (event: string, told: (data: { readonly text?: string }) => void): void =>
    stream.addEventListener(event, (message) => told(JSON.parse((message as MessageEvent<string>).data) as { readonly text?: string }))
  on('answer', () => card.say('answering'))
  on('data', ({ text = '' }) => card.answer.append(text))
  // The server went away in the middle: another one begins anew.
  on('reset', () => {
    card.say('once more')
    card.answer.textContent = ''
  })
  on('end', () => {
    stream.close()
    card.say('answered')
  })
}

interface Card {
  readonly answer: HTMLElement
  say(status: string): void
}

function cardFor(question: string): Card {
  const template = document.querySelector('template') as HTMLTemplateElement
  const root = (template.content.cloneNode(true) as DocumentFragment).firstElementChild as HTMLElement
  const at = (selector: string): HTMLElement => root.querySelector(selector) as HTMLElement
  at('h2').textContent = question
  document.querySelector('ol')?.prepend(root)
  const say = (status: string): void => {
    root.dataset['status'] = status
    at('.chip').textContent = status
  }
  say('asked')
  return { answer: at('.answer'), say }
}

document.querySelector('form')?.addEventListener('submit', (event) => {
  event.preventDefault()
  const question = new FormData(event.currentTarget as HTMLFormElement).get('question') as string
  const kept = { question, key: crypto.randomUUID() }
  questions.push(kept)
  keep()
  void run(kept)
})
for (const kept of questions) void run(kept)
