/**
 * A small metrics registry: counters, histograms and gauges that are read when scraped, rendered as Prometheus text 0.0.4.
 * A series is resolved once and kept by its user, so that counting costs an addition. The number of series per name is bounded:
 * whatever label sets come later share one series named `other`, and that it happened is counted.
 */
import { metricBuckets, type MetricSpec, type MetricType, metricSpec, SERIES_MAX } from './names.ts'
import type { Amount, Counter, FamilyDump, GaugeDump, GaugeSample, Histogram, Metrics, MetricsDump } from './telemetry.ts'

export interface MetricsOptions {
  /** Label sets per name before `other`. */
  readonly seriesMax?: number
  /** Known metrics: their help and type outrank what a caller says. */
  readonly spec?: (name: string) => MetricSpec | undefined
}

type Labels = Readonly<Record<string, string>>
type Reader = () => Iterable<GaugeSample>

interface Series {
  render(name: string, labels: string): string
  dump(): Amount
  add(amount: Amount): void
}

interface Family {
  readonly name: string
  readonly help: string
  readonly type: MetricType
  /** How values get in: pushed by callers or read when scraped. */
  readonly source: 'counter' | 'histogram' | 'reader'
  readonly series: Map<string, Series>
  readonly readers: Reader[]
}

const OVERFLOW = 'spillway_metric_series_overflow_total'
const METRIC_NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/
const LABEL_NAME = /^(?!__)[a-zA-Z_][a-zA-Z0-9_]*$/
const LABEL_ESCAPES: Readonly<Record<string, string>> = { '\\': '\\\\', '"': '\\"', '\n': '\\n' }

function escapeLabel(value: string): string {
  return value.replace(/[\\"\n]/g, (char) => LABEL_ESCAPES[char] as string)
}

function escapeHelp(help: string): string {
  return help.replace(/[\\\n]/g, (char) => LABEL_ESCAPES[char] as string)
}

/** `a="1",b="2"` in the order of the names: the identity of a series and what is printed between its braces. */
function labelText(labels: Labels): string {
  const names = Object.keys(labels).sort()
  for (const name of names) if (!LABEL_NAME.test(name)) throw new Error(`not a label name: ${name}`)
  return names.map((name) => `${name}="${escapeLabel(labels[name] as string)}"`).join(',')
}

function otherLabels(labels: Labels): Labels {
  return Object.fromEntries(Object.keys(labels).map((name) => [name, 'other']))
}

function numberText(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return '+Inf'
  if (value === Number.NEGATIVE_INFINITY) return '-Inf'
  return String(value)
}

function sampleLine(name: string, labels: string, value: number): string {
  return `${labels === '' ? name : `${name}{${labels}}`} ${numberText(value)}\n`
}

class CounterSeries implements Counter, Series {
  private value = 0

  inc(by = 1): void {
    if (!(by >= 0)) throw new Error('a counter only grows')
    this.value += by
  }

  render(name: string, labels: string): string {
    return sampleLine(name, labels, this.value)
  }

  dump(): Amount {
    return this.value
  }

  add(amount: Amount): void {
    this.value += amount as number
  }
}

class HistogramSeries implements Histogram, Series {
  private readonly bounds: readonly number[]
  private readonly counts: Float64Array
  private sum = 0

  constructor(bounds: readonly number[]) {
    this.bounds = bounds
    this.counts = new Float64Array(bounds.length + 1)
  }

  observe(value: number): void {
    let bucket = 0
    while (bucket < this.bounds.length && value > (this.bounds[bucket] as number)) bucket++
    this.counts[bucket] = (this.counts[bucket] as number) + 1
    this.sum += value
  }

  render(name: string, labels: string): string {
    const before = labels === '' ? '' : `${labels},`
    let text = ''
    let total = 0
    for (let bucket = 0; bucket < this.counts.length; bucket++) {
      total += this.counts[bucket] as number
      const bound = numberText(this.bounds[bucket] ?? Number.POSITIVE_INFINITY)
      text += sampleLine(`${name}_bucket`, `${before}le="${bound}"`, total)
    }
    return text + sampleLine(`${name}_sum`, labels, this.sum) + sampleLine(`${name}_count`, labels, total)
  }

  dump(): Amount {
    return { counts: this.counts, sum: this.sum }
  }

  add(amount: Amount): void {
    const { counts, sum } = amount as Exclude<Amount, number>
    for (let bucket = 0; bucket < counts.length; bucket++)
      this.counts[bucket] = (this.counts[bucket] as number) + (counts[bucket] as number)
    this.sum += sum
  }
}

class Registry implements Metrics {
  private readonly families = new Map<string, Family>()
  private readonly options: MetricsOptions
  private readonly seriesMax: number
  private readonly spec: (name: string) => MetricSpec | undefined

  constructor(options: MetricsOptions) {
    this.options = options
    this.seriesMax = options.seriesMax ?? SERIES_MAX
    this.spec = options.spec ?? metricSpec
  }

  counter(name: string, help: string, labels: Labels = {}): Counter {
    return this.resolve(this.family(name, help, 'counter'), labels, () => new CounterSeries())
  }

  histogram(name: string, help: string, labels: Labels = {}): Histogram {
    if (Object.hasOwn(labels, 'le')) throw new Error('`le` is a label of its own in a histogram')
    return this.resolve(this.family(name, help, 'histogram'), labels, () => new HistogramSeries(metricBuckets(this.spec(name))))
  }

  gauge(name: string, help: string, read: Reader): void {
    this.family(name, help, 'reader').readers.push(read)
  }

  forget(labels: Labels): void {
    const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`)
    for (const { series } of this.families.values()) {
      for (const text of series.keys()) if (pairs.every((pair) => `,${text},`.includes(`,${pair},`))) series.delete(text)
    }
  }

  render(): string {
    let text = ''
    for (const family of this.families.values()) {
      text += `# HELP ${family.name} ${escapeHelp(family.help)}\n# TYPE ${family.name} ${family.type}\n`
      text += family.source === 'reader' ? this.renderRead(family) : renderPushed(family)
    }
    return text
  }

  dump(): MetricsDump {
    const counted: FamilyDump[] = []
    const gauges: GaugeDump[] = []
    for (const { name, help, source, series, readers } of this.families.values()) {
      if (source === 'reader') gauges.push({ name, help, samples: readers.flatMap((read) => [...read()]) })
      else counted.push({ name, help, source, series: [...series].map(([labels, each]) => [labels, each.dump()]) })
    }
    return { counted, gauges }
  }

  add({ counted }: MetricsDump): void {
    for (const { name, help, source, series } of counted) {
      const family = this.family(name, help, source)
      const create = (): Series => (source === 'counter' ? new CounterSeries() : new HistogramSeries(metricBuckets(this.spec(name))))
      for (const [labels, amount] of series) (family.series.get(labels) ?? this.added(family, labels, create)).add(amount)
    }
  }

  renderWith(dumps: readonly MetricsDump[]): string {
    if (dumps.length === 0) return this.render()
    const all = new Registry(this.options)
    for (const dump of [this.dump(), ...dumps]) {
      all.add(dump)
      for (const { name, help, samples } of dump.gauges) all.gauge(name, help, () => samples)
    }
    return all.render()
  }

  private added(family: Family, labels: string, create: () => Series): Series {
    if (family.series.size < this.seriesMax || family.name === OVERFLOW) return added(family, labels, create)
    this.countOverflow(family.name)
    const other = labels.replace(/="(?:[^"\\]|\\.)*"/g, '="other"')
    return family.series.get(other) ?? added(family, other, create)
  }

  private family(name: string, help: string, source: Family['source']): Family {
    const known = this.families.get(name)
    if (known !== undefined) {
      if (known.source !== source) throw new Error(`the metric ${name} is a ${known.source} already, not a ${source}`)
      return known
    }
    if (!METRIC_NAME.test(name)) throw new Error(`not a metric name: ${name}`)
    const spec = this.spec(name)
    const type = source === 'reader' ? (spec?.type ?? 'gauge') : source
    if (spec !== undefined && spec.type !== type) throw new Error(`the metric ${name} is declared as a ${spec.type}, not a ${type}`)
    const family: Family = { name, help: spec?.help ?? help, type, source, series: new Map(), readers: [] }
    this.families.set(name, family)
    return family
  }

  private resolve<S extends Series>(family: Family, labels: Labels, create: () => S): S {
    const text = labelText(labels)
    const found = family.series.get(text)
    // A family holds series of one kind only, `family()` saw to it.
    if (found !== undefined) return found as S
    if (family.series.size < this.seriesMax || family.name === OVERFLOW) return added(family, text, create)
    this.countOverflow(family.name)
    const other = labelText(otherLabels(labels))
    return (family.series.get(other) as S | undefined) ?? added(family, other, create)
  }

  /** Several readers may feed one label set; their values add up. */
  private renderRead(family: Family): string {
    const values = new Map<string, number>()
    for (const read of family.readers) {
      for (const { labels = {}, value } of read()) {
        let text = labelText(labels)
        if (!values.has(text) && values.size >= this.seriesMax) {
          this.countOverflow(family.name)
          text = labelText(otherLabels(labels))
        }
        values.set(text, (values.get(text) ?? 0) + value)
      }
    }
    let lines = ''
    for (const [text, value] of values) lines += sampleLine(family.name, text, value)
    return lines
  }

  private countOverflow(name: string): void {
    this.counter(OVERFLOW, '', { name }).inc()
  }
}

function added<S extends Series>(family: Family, text: string, create: () => S): S {
  const series = create()
  family.series.set(text, series)
  return series
}

function renderPushed(family: Family): string {
  let lines = ''
  for (const [text, series] of family.series) lines += series.render(family.name, text)
  return lines
}

export function createMetrics(options: MetricsOptions = {}): Metrics {
  return new Registry(options)
}
