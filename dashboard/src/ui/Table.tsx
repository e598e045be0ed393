/** The one table of the page: TanStack Table keeps columns, order and choice; here is what they look like. */
import {
  columnVisibilityFeature, createColumnHelper, createSortedRowModel, FlexRender, metaHelper, rowSelectionFeature,
  rowSortingFeature, sortFn_alphanumeric, sortFn_text, tableFeatures, useTable,
  type Cell, type Column, type ColumnVisibilityState, type Header, type OnChangeFn, type Row, type RowData, type RowSelectionState, type TableOptions,
} from "@tanstack/react-table";
import { memo, useState, type FocusEvent, type ReactNode } from "react";

const features = tableFeatures({
  columnVisibilityFeature,
  rowSelectionFeature,
  rowSortingFeature,
  sortedRowModel: createSortedRowModel(),
  // "worker-2" stands before "worker-10".
  sortFns: { alphanumeric: sortFn_alphanumeric, text: sortFn_text },
  columnMeta: metaHelper<{ className?: string }>(),
});
type Features = typeof features;

export type { ColumnVisibilityState, RowSelectionState };
export type Columns<Data extends RowData> = TableOptions<Features, Data>["columns"];

/**
 * What columns of some rows are made with. They stay the same as long as they show the same: a row is drawn again
 * when it or they changed. A column with an accessor can be sorted by, one for display cannot.
 */
export const columnsOf = <Data extends RowData>() => createColumnHelper<Features, Data>();

/** The head of a column of buttons, which has a name and shows none. */
export const ACTIONS = () => <span className="hidden-label">Actions</span>;

const EVERY: ColumnVisibilityState = {};
const NONE: RowSelectionState = {};

interface Props<Data extends RowData> {
  label: string;
  columns: Columns<Data>;
  rows: readonly Data[];
  rowKey: (row: Data) => string;
  rowClass?: (row: Data, index: number) => string;
  /** These are all the rows there are: only then an order by one of the columns says something true. */
  whole?: boolean;
  /** Columns that speak for themselves: their names are there for who cannot see them. */
  bare?: boolean;
  visible?: ColumnVisibilityState;
  chosen?: RowSelectionState;
  onChoose?: OnChangeFn<RowSelectionState>;
}

export function Table<Data extends RowData>(props: Props<Data>) {
  const { rowKey, rowClass, whole = false, visible = EVERY, chosen = NONE, onChoose } = props;
  const sortable = whole && props.rows.length > 1;
  const table = useTable({
    features,
    columns: props.columns,
    data: props.rows,
    getRowId: rowKey,
    enableSorting: sortable,
    enableMultiSort: false,
    enableRowSelection: onChoose !== undefined,
    state: { columnVisibility: visible, rowSelection: chosen },
    ...(onChoose ? { onRowSelectionChange: onChoose } : {}),
  });
  const [still, hand] = useStill(table.getRowModel().rows, sortable && table.state.sorting.length > 0);
  const columns = table.getVisibleLeafColumns();
  return (
    <div className="table-box" tabIndex={-1}>
      <table className="table" aria-label={props.label}>
        <thead className={props.bare ? "hidden-label" : undefined}>
          <tr>{table.getFlatHeaders().map((header) => <Head key={header.id} header={header} />)}</tr>
        </thead>
        <tbody {...hand}>
          {still.map((row, index) => (
            <KeptLine key={row.id} row={row} columns={columns} className={rowClass?.(row.original, index)} chosen={row.getIsSelected()} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

const ORDER = { asc: "ascending", desc: "descending" } as const;

function Head<Data extends RowData>({ header }: { header: Header<Features, Data> }) {
  const { column } = header;
  const sorted = column.getCanSort() && column.getIsSorted();
  return (
    <th scope="col" className={column.columnDef.meta?.className} aria-sort={sorted ? ORDER[sorted] : undefined}>
      {column.getCanSort() ? (
        <button type="button" className="sort" onClick={column.getToggleSortingHandler()}><FlexRender header={header} /><i aria-hidden="true" /></button>
      ) : (
        <FlexRender header={header} />
      )}
    </th>
  );
}

interface LineProps<Data extends RowData> {
  row: Row<Features, Data>;
  columns: readonly Column<Features, Data>[];
  className: string | undefined;
  chosen: boolean;
}

/** A function of its row and no component, as `FlexRender` would make it: a page of jobs has five hundred cells. */
function drawn<Data extends RowData>(cell: Cell<Features, Data>): ReactNode {
  const { cell: draw } = cell.column.columnDef;
  return typeof draw === "function" ? draw(cell.getContext()) : draw;
}

function Line<Data extends RowData>({ row, className }: LineProps<Data>) {
  return (
    <tr className={className}>
      {row.getVisibleCells().map((cell) => <td key={cell.id} className={cell.column.columnDef.meta?.className}>{drawn(cell)}</td>)}
    </tr>
  );
}

const sameColumns = (some: readonly object[], others: readonly object[]) =>
  some.length === others.length && some.every((one, at) => one === others[at]);

/** TanStack makes its rows anew with each answer; what is in them stays the same as long as nothing changed. */
const KeptLine = memo(Line, (one, other) =>
  one.row.original === other.row.original && one.className === other.className && one.chosen === other.chosen && sameColumns(one.columns, other.columns),
) as typeof Line;

/** The order that rows are held in: by a pointer over them, or by the focus in one of them. */
interface Held {
  order: readonly string[];
  row: string | undefined;
}

/**
 * Rows that follow live figures stay where they are while a hand is on them: a button that moved away would give
 * the click to the one that came to its place.
 */
function useStill<Data extends RowData>(rows: readonly Row<Features, Data>[], moves: boolean) {
  const [held, setHeld] = useState<Held | null>(null);
  // A row that had the focus and went tells nobody that the focus is gone.
  const order = moves && held && (held.row === undefined || rows.some((row) => row.id === held.row)) ? held.order : null;
  const shown = order ? inOrder(rows, order) : rows;
  const hold = (row?: string) => setHeld({ order: order ?? rows.map(({ id }) => id), row });
  const pointed = order !== null && held?.row === undefined;
  const hand = {
    onPointerEnter: () => hold(),
    onPointerLeave: () => setHeld(null),
    onFocus: ({ target }: FocusEvent) => {
      if (!pointed) hold(shown[target.closest("tr")?.sectionRowIndex ?? -1]?.id);
    },
    onBlur: ({ currentTarget, relatedTarget }: FocusEvent) => {
      if (!pointed && !currentTarget.contains(relatedTarget)) setHeld(null);
    },
  };
  return [shown, moves ? hand : {}] as const;
}

/** The rows in an order from before; those that it does not know come last. */
function inOrder<Data extends RowData>(rows: readonly Row<Features, Data>[], order: readonly string[]) {
  const place = new Map(order.map((id, at) => [id, at]));
  const of = (row: Row<Features, Data>) => place.get(row.id) ?? order.length;
  return rows.toSorted((one, other) => of(one) - of(other));
}
